"""The commands that the page runs: those that a person could type."""

import shlex
from pathlib import Path

from realfill.app.jobs import Command
from realfill.app.workspace import (
    FILLED,
    LOOKED,
    TRAINED,
    result_folder,
    scene_folder,
)

LAYOUTS = 6
"""Completions from exemplars, by set-ups that differ."""
SAVED_EVERY = 25
"""Training steps after which what was trained is kept, to go on from there."""
LOOKS = 5
"""How often a training run shows what the model makes."""
SEEN_AT_A_LOOK = 2
"""Completions."""
TRIAL_STEPS = 30
"""The first of them take longer: what is trained on is encoded then."""


def look(workspace: Path, name: str) -> Command:
    """Return the command that says what the references show, in one picture."""
    folders = ["--scene", scene_folder(workspace, name), "--output_dir"]
    folders += [result_folder(workspace, LOOKED, name)]
    return ["infer.py", *map(str, folders), "--geometry", "only", "--overwrite"]


def fill(workspace: Path, name: str) -> Command:
    """Return the command that completes the photo from the references."""
    flags = f"--infer_flags=--num_images {LAYOUTS} --seed 0"
    return complete(workspace, name, FILLED, [flags])


def train(workspace: Path, name: str, base: str, steps: int, count: int) -> Command:
    """Return the command that trains on the scene and samples `count` completions.

    `base` is a folder or a hub id, or empty for the embedded base.
    """
    training = f"--max_train_steps {steps} --checkpointing_steps {SAVED_EVERY} --seed 0"
    training += f" --num_validation_images {SEEN_AT_A_LOOK} --report_to none"
    training += f" --validation_steps {max(1, steps // LOOKS)}"
    if base:
        training += f" --pretrained_model_name_or_path {shlex.quote(base)}"
    else:
        training = f"@data/demo.args {training}"
    flags = ["--fill", "model", "--skip_training_if_known", "2", f"--train_flags={training}"]
    flags += [f"--infer_flags=--num_images {count} --seed 0 --rank"]
    return complete(workspace, name, TRAINED, flags)


def trial(scene: Path, folder: Path) -> Command:
    """Return the command that trains the embedded base for a few steps, to time them."""
    flags = ["--train_data_dir", str(scene), "--output_dir", str(folder)]
    flags += ["--max_train_steps", str(TRIAL_STEPS), "--report_to", "none"]
    return ["train_realfill.py", "@data/demo.args", *flags]


def complete(workspace: Path, name: str, kind: str, flags: list[str]) -> Command:
    """Return the command that completes a scene in the folder of results of a `kind`."""
    scene = str(scene_folder(workspace, name))
    return ["complete_scenes.py", scene, "--output_dir", str(workspace / kind), *flags]
