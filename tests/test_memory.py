"""Training within a limit of memory."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from realfill.commands import train
from realfill.errors import UserError
from realfill.scene import load_scene
from realfill.training import job
from realfill.training.memory_budget import (
    SAVINGS,
    TRIAL_SHARE,
    explain_shortage,
    possible_savings,
)
from realfill.training.trainer import Trainer
from tests.conftest import ROOT, environment, launch, launch_two, train_flags
from tests.helpers import same_weights

MEASURE = """
import re
import sys
from pathlib import Path
from train_realfill import main

NAMES = ("VmPeak", "VmSize", "VmData")

def peak_gigabytes():
    "Return the most data that this process has had: the most of all, less what is no data."
    status = Path("/proc/self/status").read_text()
    peak, now, data = (int(re.search(rf"{name}:\\s*(\\d+)", status)[1]) for name in NAMES)
    return (peak - now + data) / 2**20

output, *flags = sys.argv[1:]
peaks = []
for name, saving in (("both", ["--gradient_checkpointing"]), ("one", [])):
    main([*flags, "--output_dir", f"{output}-{name}", "--offload_idle_models", *saving])
    peaks.append(peak_gigabytes())
print(*peaks)
"""
"""Trains with two savings and with one; prints the peaks of both. Peaks only rise: so the first."""


def heavy_flags(scene: Path, base: Path, output: Path) -> list[str]:
    """Return the flags of a training run whose activations take far more than everything else."""
    flags = train_flags(scene, base, output, steps=1)
    return [str(flag) for flag in (*flags, "--resolution", 192, "--train_batch_size", 24)]


@pytest.mark.slow
def test_a_limit_is_met_with_as_few_savings_as_it_takes(
    scene_folder: Path, base_folder: Path, tmp_path: Path
) -> None:
    flags = heavy_flags(scene_folder, base_folder, tmp_path / "limited")
    command = [sys.executable, "-c", MEASURE, tmp_path / "by-hand", *flags[1:]]
    run = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    both, one = map(float, run.stdout.splitlines()[-1].split())
    assert one - both > 0.2, "the test needs a wide gap to put its limit into"
    limit = (both + one) / 2 / TRIAL_SHARE
    printed = launch(*flags, "--offload_idle_models", "--max_memory_gb", limit)
    assert f"memory: fits into {limit:g} GB with --gradient_checkpointing\n" in printed
    assert same_weights(tmp_path / "limited", tmp_path / "by-hand-both")


def test_savings_are_those_that_the_device_can_do() -> None:
    assert possible_savings(torch.device("cpu")) == [
        "offload_idle_models",
        "gradient_checkpointing",
    ]
    on_a_gpu = possible_savings(torch.device("cuda"))
    assert on_a_gpu == list(SAVINGS if find_spec("bitsandbytes") else SAVINGS[:2])


def test_a_limit_that_nothing_meets(scene_folder: Path, base_folder: Path, tmp_path: Path) -> None:
    flags = train_flags(scene_folder, base_folder, tmp_path / "output")[1:]
    flags += ["--max_memory_gb", 0.01, "--offload_idle_models", "--gradient_checkpointing"]
    with pytest.raises(UserError, match=r"0\.01: training does not fit"):
        train.main([str(flag) for flag in flags])
    assert not list((tmp_path / "output").iterdir())


def test_what_is_no_lack_of_memory_is_not_taken_for_one(
    scene_folder: Path, base_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    flags = train_flags(scene_folder, base_folder, tmp_path / "output")[1:]
    flags += ["--max_memory_gb", 100, "--lora_target_modules", "no_such_module"]
    with pytest.raises(SystemExit) as stopped:
        train.main([str(flag) for flag in flags])
    assert stopped.value.code == 2
    complaint = capfd.readouterr().err
    assert complaint.count("--lora_target_modules no_such_module") == 1, "the trial's own line"
    assert "Traceback" not in complaint


def test_running_out_of_memory_is_explained() -> None:
    for size in (2**50, 2**60):
        with pytest.raises(UserError, match="--max_memory_gb"), explain_shortage():
            torch.empty(size, dtype=torch.uint8)
    with pytest.raises(UserError, match="--max_memory_gb"), explain_shortage():
        bytearray(2**60)
    with pytest.raises(RuntimeError, match="size"), explain_shortage():
        torch.empty(2) @ torch.empty(3)


def test_several_processes_are_to_choose_for_themselves(
    scene_folder: Path, base_folder: Path, tmp_path: Path
) -> None:
    flags = train_flags(scene_folder, base_folder, tmp_path / "output")
    advice = "for a single process; choose yourself from --offload_idle_models"
    with pytest.raises(AssertionError, match=advice):
        launch_two(*flags, "--max_memory_gb", 8)


@pytest.mark.slow
def test_idle_models_off_the_device_change_no_result(
    scene_folder: Path, base_folder: Path, tmp_path: Path
) -> None:
    """Where the text encoder does not train, it is idle as well; validation needs both models."""
    losses = []
    for flags in ([], ["--offload_idle_models"]):
        argv = train_flags(scene_folder, base_folder, tmp_path / "output")[1:]
        argv += ["--text_encoder_learning_rate", "0", "--num_validation_images", 1, *flags]
        arguments = train.parse_arguments([str(flag) for flag in argv])
        scene = load_scene(scene_folder)
        accelerator = Accelerator(cpu=True)
        pipeline, settings = job.load(accelerator, scene, 1, arguments)
        trainer = Trainer.build(accelerator, pipeline, scene, settings, arguments)
        assert pipeline.vae.use_slicing == bool(flags)
        losses.append(trainer.take_step())
        trainer.validate()
        assert pipeline.vae.use_slicing == bool(flags)
    torch.testing.assert_close(*losses)
