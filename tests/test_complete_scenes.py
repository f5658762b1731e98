"""`complete_scenes.py`: one scene or many, from photos to finished pictures and a report."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from diffusers import StableDiffusionInpaintPipeline
from PIL import Image

from realfill.images.blend import feather
from realfill.images.read import read_photo
from realfill.lock import one_writer
from realfill.scene import load_scene
from realfill.scenes.plan import SceneRecord
from realfill.scenes.progress import Outcome, Progress
from tests.conftest import ROOT, RunScript, environment, write_scene
from tests.helpers import (
    IMPORTED,
    LORA,
    QUICK,
    contents,
    corrupt,
    model_flags,
    write_flat_scene,
)

BAD = "<b>ad"


@pytest.fixture
def complete(start: RunScript, capsys: pytest.CaptureFixture[str]):
    """Return a function that runs the script, expects an exit code, and returns what it said."""

    def run(*arguments: object, code: int = 0) -> str:
        if code == 0:
            return start("complete_scenes.py", *arguments)
        with pytest.raises(SystemExit) as stopped:
            start("complete_scenes.py", *arguments)
        said = "".join(capsys.readouterr())
        assert stopped.value.code == code, said
        return said

    return run


def test_a_bad_scene_stops_no_other_and_only_what_is_missing_is_made(
    tmp_path: Path, complete
) -> None:
    scenes, out = tmp_path / "scenes", tmp_path / "out"
    one = write_flat_scene(tmp_path / "elsewhere" / "one")
    write_scene(scenes / "two")
    (scenes / BAD / "ref").mkdir(parents=True)
    (scenes / "notes").mkdir()
    flags = (one, "--scenes", scenes, "--output_dir", out, f"--infer_flags={QUICK}")
    before = contents(scenes)
    said = complete(*flags, code=3)
    assert f"left out: {BAD}: {scenes / BAD / 'ref'}: no photos" in said
    assert said.count("--fill model") == 1, "of the second scene, geometry knows nothing"
    assert contents(scenes) == before
    report = json.loads((out / "report/report.json").read_text())
    assert [each["name"] for each in report["folders"]] == ["one/completions", "two/completions"]

    page = (out / "status.html").read_text()
    assert page.count("<img ") == 4
    assert "2 of 3 scenes done, 0 running, 1 failed" in page
    assert "&lt;b&gt;ad" in page
    assert BAD not in page
    assert not re.search(r"""(src|href)=["'](?!data:|one/|two/)""", page), "it needs other files"

    made = {path: path.stat().st_mtime_ns for path in out.glob("*/**/*") if path.is_file()}
    assert "--fill model" not in complete(*flags, code=3)
    assert made == {path: path.stat().st_mtime_ns for path in made}, "nothing was done again"
    removed = out / "one/completions/0.png"
    whole = removed.read_bytes()
    removed.unlink()
    complete(*flags, code=3)
    assert removed.read_bytes() == whole
    again = {path for path in made if path.stat().st_mtime_ns != made[path]}
    assert not [path for path in again if path.is_relative_to(out / "two")]
    assert out / "one/completions/prefill.png" not in again


def test_other_photos_of_the_same_name_are_not_taken_for_done(tmp_path: Path, complete) -> None:
    scene, out = write_flat_scene(tmp_path / "one"), tmp_path / "out"
    flags = (scene, "--output_dir", out, f"--infer_flags={QUICK}")
    complete(*flags)
    mask = Image.open(scene / "target/mask.png")
    mask.paste(255, (10, 10, 30, 30))
    mask.save(scene / "target/mask.png")
    assert "--overwrite" in complete(*flags, code=2)
    complete(scene, "--output_dir", out, f"--infer_flags={QUICK} --overwrite")
    assert "1 of 1 scenes are complete" in complete(*flags)


def test_what_geometry_knows_needs_no_training(tmp_path: Path, complete) -> None:
    scene, out = write_flat_scene(tmp_path / "flat"), tmp_path / "out"
    complete(scene, "--output_dir", out, "--fill", "model", f"--infer_flags={QUICK}")
    assert SceneRecord.read(out / "flat").known >= 0.98
    assert not (out / "flat/model").exists()
    assert not (out / "flat/completions/1.png").exists(), "it would be the same"
    [scored] = json.loads((out / "report/report.json").read_text())["folders"]
    assert scored["left_out"] == [], "one completion was asked for, and it is there"
    assert len(scored["notes"]) == 1
    best, truth = (
        np.asarray(Image.open(path).convert("RGB")).astype(float)[90:150, 130:190]
        for path in (out / "flat/completions/best.png", scene / "target/gt.png")
    )
    assert 10 * np.log10(255**2 / np.square(best - truth).mean()) > 25


def test_a_model_is_trained_once_and_a_lost_completion_is_sampled_again(
    tmp_path: Path, base_folder: Path, complete
) -> None:
    scene, out = write_scene(tmp_path / "one"), tmp_path / "out"
    flags = (scene, "--output_dir", out, *model_flags(base_folder))
    complete(*flags)
    weights, completion = out / "one/model" / LORA, out / "one/completions/1.png"
    trained, sampled = weights.stat().st_mtime_ns, completion.read_bytes()
    assert (out / "one/completions/best.png").exists()
    record = SceneRecord.read(out / "one")
    assert (record.fill, record.known) == ("model", 0)
    completion.unlink()
    assert "trained already" in complete(*flags)
    assert completion.read_bytes() == sampled
    assert weights.stat().st_mtime_ns == trained


def test_a_base_fills_beside_a_reference_without_training(
    tmp_path: Path, scene_folder: Path, base_folder: Path, complete
) -> None:
    out = tmp_path / "out"
    flags = f"{QUICK} --geometry off --num_inference_steps 2 --rank sift --resolution 32"
    run = (scene_folder, "--output_dir", out, "--fill", "canvas")
    assert "--model_path" in complete(*run, f"--infer_flags={flags}", code=2)
    complete(*run, f"--infer_flags={flags} --model_path {base_folder}")
    results = out / scene_folder.name
    assert SceneRecord.read(results).fill == "canvas"
    assert not (results / "model").exists()
    assert (results / "completions/best.png").exists()


@pytest.mark.slow
def test_real_scenes_and_the_embedded_base(tmp_path: Path) -> None:
    out, broken = tmp_path / "out", tmp_path / "broken"
    write_scene(broken)
    corrupt(broken / "target/target.png")
    flags = ["data/yard", "data/leuven", broken, "--output_dir", out, "--fill", "model"]
    flags += ["--skip_training_if_known", "2"]
    flags += ["--train_flags=@data/demo.args --max_train_steps 20"]
    flags += ["--infer_flags=--num_images 2 --num_inference_steps 4 --seed 0 --rank sift"]

    def run() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", IMPORTED, "complete_scenes.py", *map(str, flags)]
        done = subprocess.run(
            command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=900
        )
        assert done.returncode == 3, done.stderr[-3000:]
        assert "left out: broken: " in done.stderr
        assert "damaged" in done.stderr
        return done

    run()
    for name in ("yard", "leuven"):
        assert SceneRecord.read(out / name).fill == "model"
        scene = load_scene(ROOT / "data" / name)
        outside = np.asarray(feather(scene.mask)) == 0
        for index in (0, 1):
            completion = np.asarray(read_photo(out / name / f"completions/{index}.png"))
            assert np.array_equal(completion[outside], np.asarray(scene.target)[outside])
        assert (out / name / "completions/best.png").exists()
        assert StableDiffusionInpaintPipeline.lora_state_dict(out / name / "model")
    made = contents(out)
    modules = set(run().stderr.split())
    assert "argparse" in modules
    assert not {"torch", "diffusers"} & modules, "there is nothing to wait for"
    assert {path: data for path, data in contents(out).items() if path.name != "status.html"} == {
        path: data for path, data in made.items() if path.name != "status.html"
    }


def test_mistakes_are_refused_before_anything_is_done(
    tmp_path: Path, scene_folder: Path, refuse: RunScript
) -> None:
    out = tmp_path / "out"

    def refused(*arguments: object) -> str:
        return refuse("complete_scenes.py", *arguments, "--output_dir", out)

    assert "--max_train_steps" in refused(scene_folder, "--train_flags=--max_train_steps 0")
    assert "--geometry only" in refused(scene_folder, "--infer_flags=--geometry only")
    assert "--scenes" in refused()
    assert "no scene folders" in refused("--scenes", scene_folder)
    namesake = write_scene(tmp_path / "other" / scene_folder.name)
    assert "same name" in refused(scene_folder, namesake)
    assert "scores" in refused(write_scene(tmp_path / "report"))
    assert not out.exists()
    assert "no scene could be completed" in refused(tmp_path / "nothing")


def test_a_second_start_on_the_same_folder_is_refused(
    tmp_path: Path, scene_folder: Path, refuse: RunScript
) -> None:
    with one_writer(tmp_path / "out"):
        line = refuse("complete_scenes.py", scene_folder, "--output_dir", tmp_path / "out")
    assert "is writing there" in line
    assert not (tmp_path / "out" / "status.html").exists()


def test_the_scene_itself_is_no_output_folder(scene_folder: Path, refuse: RunScript) -> None:
    before = contents(scene_folder)
    refuse("complete_scenes.py", scene_folder, "--output_dir", scene_folder)
    refuse("complete_scenes.py", scene_folder, "--output_dir", scene_folder.parent)
    assert contents(scene_folder) == before


def test_the_time_left_goes_by_the_scenes_of_this_run() -> None:
    scenes = [Path(name) for name in "abcd"]
    progress = Progress(scenes, at_once=2)
    progress.started -= 600
    record = SceneRecord()
    progress.outcomes = [Outcome(scenes[0], record, new=False)]
    assert progress.line() == "1 of 4 scenes done, 2 running, 0 failed"
    progress.outcomes += [Outcome(scenes[1], record), Outcome(scenes[2], fault="none")]
    assert progress.line() == "2 of 4 scenes done, 1 running, 1 failed, about 10 min left"
