"""`accelerate launch train_realfill.py`, run as a user does."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from realfill.training.checkpoints import list_checkpoints
from tests.bases import make_base
from tests.conftest import ROOT, environment, launch, launch_two, train_flags, write_scene
from tests.helpers import LORA, same_weights

UP = ".lora_B."
"""In the names of the matrices that start as zero."""


def test_what_training_leaves(trained: tuple[Path, Path]) -> None:
    _, output = trained
    record = json.loads((output / "realfill.json").read_text())
    assert record["prompt"] == "a photo of sks"
    assert record["scene"] == "scene"
    assert record["steps"] == 4
    assert record["settings"]["resolution"] == 64
    assert record["settings"]["seed"] == 1
    assert {"torch", "diffusers", "peft"} <= record["versions"].keys()
    names = load_file(output / LORA).keys()
    assert any(name.startswith("unet.") for name in names)
    assert any(name.startswith("text_encoder.") for name in names)
    assert sorted(path.name for path in output.glob("checkpoint-*")) == [
        "checkpoint-2",
        "checkpoint-4",
    ]
    assert (
        not list(output.rglob("*.bin")) + list(output.rglob("*.pt")) + list(output.rglob("*.pkl"))
    )


def test_upstream_s_command_runs_unchanged(
    scene_folder: Path, base_folder: Path, tmp_path: Path
) -> None:
    """Its README's flags, with a local base and fewer steps, and what is logged."""
    output = tmp_path / "flowerwoman-model"
    printed = launch(
        "train_realfill.py",
        f"--pretrained_model_name_or_path={base_folder}",
        f"--train_data_dir={scene_folder}",
        f"--output_dir={output}",
        *("--resolution=64", "--train_batch_size=16", "--gradient_accumulation_steps=1"),
        *("--unet_learning_rate=2e-4", "--text_encoder_learning_rate=4e-5"),
        *("--lr_scheduler=constant", "--lr_warmup_steps=100", "--max_train_steps=10"),
        *("--lora_rank=8", "--lora_dropout=0.1", "--lora_alpha=16"),
        *("--set_grads_to_none", "--pad_to_full_batch", "--resume_from_checkpoint=latest"),
        *("--report_to", "tensorboard", "--checkpointing_steps", "10"),
        *("--validation_steps", "10", "--num_validation_images", "2"),
    )
    assert "precision" in printed
    assert "loss=" in printed
    assert (output / "checkpoint-10" / LORA).exists()
    logs = [EventAccumulator(str(path.parent)).Reload() for path in output.rglob("events.*")]
    scalars = {tag for log in logs for tag in log.Tags()["scalars"]}
    assert {"loss", "unet_learning_rate", "text_encoder_learning_rate"} <= scalars
    assert any("validation" in tag for log in logs for tag in log.Tags()["images"])
    with Image.open(output / "validation" / "step-10.png") as picture:
        width, height = Image.open(scene_folder / "target" / "target.png").size
        assert picture.size == (2 * width, height)


def kill_at(flags: list[object], output: Path, checkpoint: str, delay: float) -> None:
    """Start a training run and send SIGKILL `delay` seconds after `checkpoint` has appeared."""
    process = subprocess.Popen(
        [sys.executable, *map(str, flags)],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    give_up = time.monotonic() + 120
    while not (output / checkpoint).exists() and process.poll() is None:
        assert time.monotonic() < give_up
        time.sleep(0.01)
    time.sleep(delay)
    assert process.poll() is None, "the training must not be over yet"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_killed_at_three_moments_and_resumed_it_ends_in_the_same_weights(
    scene_folder: Path, base_folder: Path, tmp_path: Path, start
) -> None:
    def flags(output: Path) -> list[object]:
        common = ("--checkpointing_steps", 3, "--resume_from_checkpoint", "latest")
        schedule = ("--lr_scheduler", "cosine", "--lr_warmup_steps", 20)
        return [*train_flags(scene_folder, base_folder, output, steps=60), *common, *schedule]

    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    start(*flags(undisturbed))
    moments = random.Random(time.time_ns())
    for checkpoint in ("checkpoint-3", "checkpoint-15", "checkpoint-27"):
        kill_at(flags(killed), killed, checkpoint, moments.uniform(0, 0.3))
        assert not (killed / LORA).exists()
    printed = start(*flags(killed))
    assert "going on from" in printed
    assert same_weights(undisturbed, killed)
    assert not list(killed.glob(".*")), "what the killed runs were writing is gone"
    assert "trained already" in start(*flags(killed))


def test_two_processes_train_one_scene(
    scene_folder: Path, base_folder: Path, tmp_path: Path
) -> None:
    output = tmp_path / "output"
    flags = train_flags(scene_folder, base_folder, output)
    printed = launch_two(*flags, "--checkpointing_steps", 2)
    assert "2 process(es)" in printed
    assert printed.count("wrote ") == 1
    assert [path.name for path in list_checkpoints(output)] == ["checkpoint-4", "checkpoint-2"]
    moved = [value.abs().max() for key, value in load_file(output / LORA).items() if UP in key]
    assert min(moved) > 0


def test_a_finished_training_is_not_overwritten(
    trained: tuple[Path, Path], base_folder: Path, refuse
) -> None:
    scene, output = trained
    before = (output / LORA).read_bytes()
    complaint = refuse(*train_flags(scene, base_folder, output))
    assert "--resume_from_checkpoint latest" in complaint
    assert (output / LORA).read_bytes() == before


@pytest.fixture
def resumable(trained: tuple[Path, Path], tmp_path: Path) -> Path:
    """Return an output folder with checkpoints that the test may spoil."""
    return Path(shutil.copytree(trained[1], tmp_path / "output"))


def test_resuming_with_other_photos_or_base_or_settings_is_refused(
    trained: tuple[Path, Path], resumable: Path, base_folder: Path, tmp_path: Path, refuse
) -> None:
    scene = trained[0]
    resume = ("--resume_from_checkpoint", "latest", "--unet_learning_rate", 0.05)
    resume += ("--checkpointing_steps", 2)
    other_scene = write_scene(tmp_path / "scene")
    (other_scene / "ref/1.png").unlink()
    complaint = refuse(*train_flags(other_scene, base_folder, resumable, 8), *resume)
    assert "another scene" in complaint
    other_base = make_base(tmp_path / "other", seed=1)
    complaint = refuse(*train_flags(scene, other_base, resumable, 8), *resume)
    assert "another base" in complaint
    complaint = refuse(*train_flags(scene, base_folder, resumable, 8), *resume, "--lora_rank", 4)
    assert "--lora_rank 8, this run has 4" in complaint


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_checkpoint(
    scene_folder: Path, base_folder: Path, tmp_path: Path, refuse
) -> None:
    base = Path(shutil.copytree(base_folder, tmp_path / "base"))
    weights = base / "unet/diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    tensors["conv_out.bias"][:] = float("nan")
    save_file(tensors, weights, {"format": "pt"})
    output = tmp_path / "output"
    complaint = refuse(*train_flags(scene_folder, base, output), "--checkpointing_steps", 100)
    assert "the loss is nan at step 4" in complaint
    assert not (output / LORA).exists()


def test_the_merged_pipeline_is_base_plus_lora(
    trained: tuple[Path, Path], base_folder: Path
) -> None:
    merged = load_file(trained[1] / "unet/diffusion_pytorch_model.safetensors")
    plain = load_file(base_folder / "unet/diffusion_pytorch_model.safetensors")
    assert merged.keys() == plain.keys()
    changed = {key for key in plain if not torch.equal(merged[key], plain[key])}
    assert changed
    assert all(".to_" in key for key in changed)
    assert np.isfinite([merged[key].abs().max() for key in changed]).all()
