"""Each artefact of each script fails once, finds the disk full once, and is killed once.

After each fault, what was finished before is as it was, nothing half-written has a file's name,
and the same command, given again, leaves just what an undisturbed run leaves.
"""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image
from safetensors.torch import load_file

from realfill.scenes.run import PAGE
from tests.bases import write_view_tokens
from tests.conftest import write_scene
from tests.faults.inject import comparable, start
from tests.helpers import contents, write_completions, write_flat_scene

FAULTS = ("EIO", "ENOSPC", "SIGKILL")
TRAIN = "--max_train_steps 1 --train_batch_size 1 --num_validation_images 0 --report_to none "
TRAIN += "--mixed_precision no --checkpointing_steps 1"
LEARN = "--max_train_steps 1 --train_batch_size 1 --gradient_accumulation_steps 1 --vectors 4 "
LEARN += "--checkpointing_steps 1 --resolution 32 --report_to none --mixed_precision no"
SAMPLE = "--num_images 2 --num_inference_steps 1 --geometry off"


def train(base: Path, scene: Path, output: Path) -> list[object]:
    flags = ["--pretrained_model_name_or_path", base, "--train_data_dir", scene, "--seed", 1]
    return [*flags, *TRAIN.split(), "--output_dir", output / "model"]


COMMANDS = {
    "train_realfill.py": lambda base, scene, out: [
        *train(base, scene, out),
        *("--save_merged", "--resume_from_checkpoint", "latest"),
    ],
    "infer.py": lambda base, scene, out: [
        *("--model_path", base, "--scene", scene, "--output_dir", out / "new", "--seed", 1),
        *(*SAMPLE.split(), "--mixed_precision", "no", "--rank", "sift"),
    ],
    "infer.py --overwrite": lambda base, scene, out: [
        *("--model_path", base, "--scene", scene, "--output_dir", out / "made", "--seed", 2),
        *(*SAMPLE.split(), "--mixed_precision", "no", "--rank", "sift", "--overwrite"),
    ],
    "infer.py --geometry auto": lambda base, scene, out: [
        *("--scene", scene, "--output_dir", out / "new", "--seed", 1, "--num_images", 2),
        "--geometry_report",
    ],
    "complete_scenes.py": lambda base, scene, out: [
        *(scene, "--output_dir", out / "all", "--infer_flags=--seed 1"),
    ],
    "loftr_ranking.py": lambda base, scene, out: [
        *("--source_dir", out / "results/scene", "--scene", scene, "--matcher", "sift"),
        *("--target_count", 4),
    ],
    "refill.py": lambda base, scene, out: [
        *("--scene", scene, "--output_dir", out / "refill", "--seed", 1, "--matcher", "sift"),
        *("--target_count", 3, f"--infer_flags={SAMPLE} --mixed_precision no"),
        f"--train_flags=--pretrained_model_name_or_path '{base}' {TRAIN}",
    ],
    "benchmarks.py": lambda base, scene, out: [
        *("--results_base_dir", out / "results", "--scenes", scene.parent, "--metrics", "psnr"),
        *("--num_images", 3, "--loftr_script_path", "none", "--cache_dir", out / "cache"),
        *("--output_file", out / "report.txt"),
    ],
    "make_scenes.py": lambda base, scene, out: [
        *("photos", "--from", scene / "ref", "--holes", "boxes", "--output_dir", out / "scenes"),
    ],
    "train_task_tokens.py": lambda base, scene, out: [
        *("--task", "view", "--train_data_dir", scene / "ref", "--base", base, "--seed", 1),
        *("--output_dir", out / "tokens", "--resume_from_checkpoint", "latest"),
        *LEARN.split(),
    ],
    "new_view.py": lambda base, scene, out: [
        *("--image", scene / "target/target.png", "--model_path", base, "--turn", 9, 0),
        *("--task_tokens", write_view_tokens(out / "learned"), "--output_dir", out / "view"),
        # One: a few pixels of a second are rounded differently if it is made without the first.
        *("--num_images", 1, "--num_inference_steps", 1, "--mixed_precision", "no"),
    ],
    "reposition.py": lambda base, scene, out: [
        *("--image", scene / "target/target.png", "--mask", scene / "target/mask.png"),
        *("--shift", 20, 0, "--output_dir", out / "moved", "--num_images", 1),
    ],
}
"""By a name, what follows the script in a command."""
WITH_GEOMETRY = ("infer.py --geometry auto", "complete_scenes.py")


def run(name: str, base: Path, folder: Path, fault: str | None = None, number: int = 0):
    script = name.split()[0]
    return start(script, COMMANDS[name](base, folder / "scene", folder / "out"), fault, number)


def exit_code(name: str, fault: str) -> int:
    """Return the exit code after a fault; a scene that cannot be written does not stop others."""
    return {"SIGKILL": -9, "EIO": 3 if name == "make_scenes.py" else 2, "ENOSPC": 2}[fault]


def prepare(folder: Path, base: Path, name: str) -> Path:
    """Write a scene and what the command starts from."""
    if name in WITH_GEOMETRY:
        write_flat_scene(folder / "scene")
        (folder / "out").mkdir()
        return folder
    write_scene(folder / "scene")
    (folder / "out/results").mkdir(parents=True)
    write_completions(folder / "out/results/scene", folder / "scene")
    if "--overwrite" in name:
        made = COMMANDS[name](base, folder / "scene", folder / "out")[:-1]
        made[made.index("--seed") + 1] = 1
        assert start("infer.py", made)[0] == 0
    return folder


def visible(folder: Path) -> dict[str, bytes]:
    """Return the files that a person sees, but for paths and hours in records and on the page."""
    return {
        path.relative_to(folder).as_posix(): b"" if path.name == PAGE else comparable(path, content)
        for path, content in contents(folder).items()
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.suffix not in (".json", ".sqlite")
    }


def check_whole(folder: Path) -> None:
    """Fail if a file is damaged that has the name of a whole one."""
    for path in (folder / name for name in visible(folder)):
        if path.suffix == ".png":
            Image.open(path).load()
        elif path.suffix == ".safetensors":
            load_file(path)
    for path in folder.rglob("*.json"):
        if not any(part.startswith(".") for part in path.relative_to(folder).parts):
            json.loads(path.read_text())


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_each_artefact_fails_in_each_way(base_folder: Path, tmp_path: Path, name: str) -> None:
    origin = prepare(tmp_path / "origin/x", base_folder, name)

    def copy(label: str) -> Path:
        shutil.rmtree(tmp_path / "runs", ignore_errors=True)
        # All lie in a folder of one length, as a path may decide what comes out.
        return Path(shutil.copytree(origin, tmp_path / "runs" / "x"))

    undisturbed = copy("undisturbed")
    before = visible(undisturbed)
    code, targets = run(name, base_folder, undisturbed)
    assert (code, len(targets) > 0) == (0, True)
    expected = visible(undisturbed)
    for number in range(1, len(targets) + 1):
        for fault in FAULTS:
            folder = copy(f"{number} {fault}")
            code, _ = run(name, base_folder, folder, fault, number)
            assert code == exit_code(name, fault), (name, number, fault)
            check_whole(folder)
            after = visible(folder)
            lost = [path for path in before if after.get(path) != before[path]]
            if "--overwrite" in name:  # the old ones go only when all the new ones are there
                ready = list((folder / "out/made/.replacement").glob("*.png"))
                new = {**after, **{f"out/made/{path.name}": path.read_bytes() for path in ready}}
                made = [path for path in expected if path.split("/")[-1][0].isdecimal()]
                lost = lost if any(new.get(path) != expected[path] for path in made) else []
            assert not lost, (name, number, fault)
            code, _ = run(name, base_folder, folder)
            assert (code, visible(folder)) == (0, expected), (name, number, fault)
    print(f"{name}: {len(targets)} artefacts, {len(targets) * len(FAULTS)} faults")
