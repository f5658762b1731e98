"""`refill.py`, run as a user does, and killed in each of its stages."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT, RunScript, environment, launch
from tests.helpers import contents


def refill_flags(scene: Path, base: Path, output: Path) -> list[str]:
    train = f"--pretrained_model_name_or_path '{base}' --max_train_steps 4 --train_batch_size 2"
    train += " --num_validation_images 0 --report_to none --mixed_precision no"
    train += " --checkpointing_steps 2"
    return [
        *("refill.py", "--scene", str(scene), "--output_dir", str(output), "--seed", "1"),
        *("--matcher", "sift", "--target-count", "4", f"--train_flags={train}"),
        "--infer_flags=--num_images 3 --num_inference_steps 2 --batch_size 1",
    ]


def completions(output: Path) -> dict[str, bytes]:
    """Return what both rounds made."""
    return {
        str(path.relative_to(output)): path.read_bytes()
        for path in sorted(output.glob("round-*/completions/*.png"))
    }


def test_two_rounds(
    scene_folder: Path,
    base_folder: Path,
    tmp_path: Path,
    start: RunScript,
    refuse: RunScript,
) -> None:
    flags, output = refill_flags(scene_folder, base_folder, tmp_path / "out"), tmp_path / "out"
    before = contents(scene_folder)
    printed = launch(*flags)
    assert f"look at {output / 'refill.png'}" in printed
    assert contents(scene_folder) == before, "the user's scene stays as it is"
    grown = contents(output / "round-2" / "scene" / "ref")
    assert [path.name for path in grown] == ["0.png", "1.png", "2.png", "3.png"]
    made = completions(output)
    assert len(made) == 2 * (3 + len(("best", "contact_sheet", "provenance", "ranking")))
    assert list(grown.values())[2] == made["round-1/completions/best.png"]
    assert made["round-1/completions/0.png"] != made["round-2/completions/0.png"]
    assert start(*flags).count("trained already") == 2
    assert completions(output) == made
    flags[flags.index("--target-count") + 1] = "2"
    assert "has 2 references already" in refuse(*flags)


@pytest.mark.slow
def test_it_survives_being_killed_in_each_stage(
    scene_folder: Path, base_folder: Path, tmp_path: Path
) -> None:
    launch(*refill_flags(scene_folder, base_folder, tmp_path / "whole"))
    flags = refill_flags(scene_folder, base_folder, tmp_path / "killed")
    stages = (
        "round-1/model/checkpoint-2",
        "round-1/completions/1.png",
        "round-1/completions/loftr_ranking_scores.json",
        "round-2/scene",
        "round-2/model/checkpoint-2",
        "round-2/completions/1.png",
        "round-2/completions/best.png",
    )
    for stage in stages:
        process = subprocess.Popen(
            [sys.executable, *flags],
            cwd=ROOT,
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while not (tmp_path / "killed" / stage).exists():
            assert process.poll() is None, f"it ended before {stage}"
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert not (tmp_path / "killed" / "refill.png").exists()
    launch(*flags)
    assert completions(tmp_path / "killed") == completions(tmp_path / "whole")
    partial = [path for path in (tmp_path / "killed").rglob(".*partial*")]
    assert not [path for path in partial if path.is_dir()]
