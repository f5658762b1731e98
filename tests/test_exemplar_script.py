"""infer.py with pieces of the references: what it leaves, what it makes anew, what it refuses."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from realfill.commands import complete
from realfill.images.blend import feather
from realfill.provenance import SAMPLED
from realfill.scene import load_scene
from tests.conftest import RunScript, launch_two, write_scene


@pytest.fixture(scope="module")
def completed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a scene folder and what infer.py left for it, with no flag but where and how many."""
    folder = tmp_path_factory.mktemp("exemplars")
    scene = write_scene(folder / "scene")
    flags = ("--scene", scene, "--output_dir", folder / "results", "--num_images", 3, "--seed", 5)
    complete.main(list(map(str, flags)))
    return scene, folder / "results"


def test_infer_needs_no_model(completed: tuple[Path, Path]) -> None:
    scene, results = completed
    record = json.loads((results / "realfill.json").read_text())
    assert record["settings"]["fill"] == "exemplar"
    ranking = json.loads((results / "loftr_ranking_scores.json").read_text())["ranking"]
    assert sorted(entry["filename"] for entry in ranking) == ["0.png", "1.png", "2.png"]
    best = ranking[0]["filename"]
    assert (results / "best.png").read_bytes() == (results / best).read_bytes()
    drawn = (results / "provenance" / best).read_bytes()
    assert (results / "provenance.png").read_bytes() == drawn
    for index in range(3):
        shares = record["completions"][str(index)]["provenance"]
        assert sum(shares.values()) == pytest.approx(1, abs=1e-3)
    assert record["provenance"] == record["completions"][Path(best).stem]["provenance"]
    loaded = load_scene(scene)
    outside = np.asarray(feather(loaded.mask)) == 0
    with Image.open(results / best) as image:
        assert np.array_equal(np.asarray(image)[outside], np.asarray(loaded.target)[outside])


def test_missing_completions_are_made_to_the_same_bytes(
    completed: tuple[Path, Path], refuse: RunScript
) -> None:
    scene, results = completed
    before = {path.name: path.read_bytes() for path in results.glob("*.png")}
    (results / "1.png").unlink()
    flags = ["--scene", scene, "--output_dir", results, "--num_images", 3]
    complete.main(list(map(str, flags)))
    after = {path.name: path.read_bytes() for path in results.glob("*.png")}
    assert after == before
    refuse("infer.py", *flags, "--seed", 6)
    assert {path.name: path.read_bytes() for path in results.glob("*.png")} == before


@pytest.mark.parametrize("content", ["", "null", "5", '{"digest"', '{"digest": 1}'])
def test_a_damaged_record_of_cameras_is_made_anew(
    content: str, completed: tuple[Path, Path]
) -> None:
    scene, results = completed
    before = json.loads((results / "cameras.json").read_text())
    (results / "cameras.json").write_text(content)
    flags = ("--scene", scene, "--output_dir", results, "--num_images", 3)
    complete.main(list(map(str, flags)))
    after = json.loads((results / "cameras.json").read_text())
    assert after["digest"] == before["digest"]


def test_without_the_library_one_line_says_what_works(
    completed: tuple[Path, Path], tmp_path: Path, refuse: RunScript, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "patchmatch", None)  # as if it were not installed
    said = refuse("infer.py", "--scene", completed[0], "--output_dir", tmp_path)
    assert "pypatchmatch" in said
    assert not list(tmp_path.glob("[0-9]*.png"))


def test_a_model_may_start_from_exemplars(
    completed: tuple[Path, Path], base_folder: Path, tmp_path: Path
) -> None:
    """Under next to no noise its completion is the exemplars', as far as the autoencoder goes."""
    scene, _ = completed
    pictures = {}
    for strength in (0.05, 0.95):
        output = tmp_path / str(strength)
        flags = ("--scene", scene, "--model_path", base_folder, "--output_dir", output)
        flags += ("--geometry", "off", "--num_images", 1, "--num_inference_steps", 2)
        flags += ("--mixed_precision", "no", "--strength", strength, "--seed", 1)
        complete.main(list(map(str, flags)))
        record = json.loads((output / "realfill.json").read_text())
        assert record["settings"]["strength"] == strength
        assert record["provenance"] == {SAMPLED: 1.0}
        pictures[strength] = np.asarray(Image.open(output / "0.png")).astype(int)
    assert np.abs(pictures[0.05] - pictures[0.95]).max() > 2


@pytest.mark.parametrize(
    "flags",
    [
        ("--fill", "model"),
        ("--fill", "none", "--geometry", "off"),
        ("--strength", "1.5"),
        ("--num_images", "0"),
    ],
)
def test_flags_that_make_no_sense_are_refused(
    flags: tuple[str, ...], completed: tuple[Path, Path], tmp_path: Path, refuse: RunScript
) -> None:
    output = tmp_path / "results"
    refuse("infer.py", "--scene", completed[0], "--output_dir", output, *flags)
    assert not output.exists()


@pytest.mark.slow
def test_several_processes_go_on_with_what_is_there(
    completed: tuple[Path, Path], tmp_path: Path
) -> None:
    scene, results = completed
    output = Path(shutil.copytree(results, tmp_path / "results"))
    (output / "1.png").unlink()
    launch_two("infer.py", "--scene", scene, "--output_dir", output, "--num_images", 3)
    for index in range(3):
        name = f"{index}.png"
        assert (output / name).read_bytes() == (results / name).read_bytes()
