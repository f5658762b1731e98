"""What a training run is: its output folder, its seed, and whether it goes on from another."""

import json
from pathlib import Path
from typing import Any

from realfill.errors import UserError
from realfill.model.integrity import find_lora_damage
from realfill.record import LORA_FILE, TrainingRecord, claim, refuse_scene
from realfill.training.checkpoints import find_checkpoint

SCRIPT = "train_realfill.py"
MERGED = ("model_index.json", "scheduler", "text_encoder", "tokenizer", "unet", "vae")
"""What `--save_merged` adds."""
NEW_SETTINGS = {"use_geometry": False}
"""What records of earlier releases do not say, as it was then."""


def check_output(
    output_dir: Path, scene: Path, resume: str | None, result: str = LORA_FILE
) -> Path | None:
    """Return the checkpoint to go on from.

    `result` is the file that the run leaves. Raises `UserError` if a training run is there already
    that this run does not go on from, or if the folder is a scene's.
    """
    refuse_scene(output_dir, scene)
    holds_training = (output_dir / result).exists() or any(output_dir.glob("checkpoint-*"))
    if resume:
        checkpoint = find_checkpoint(output_dir, resume)
        if checkpoint and holds_training and checkpoint.resolve().parent != output_dir.resolve():
            raise UserError(
                f"{output_dir}: holds a training run already, and {checkpoint} is of another "
                "folder; choose another --output_dir to go on there"
            )
        return checkpoint
    if holds_training:
        raise UserError(
            f"{output_dir}: holds a training run already; go on with --resume_from_checkpoint "
            "latest, or choose another --output_dir"
        )
    return None


def claim_output(output_dir: Path, merged: bool) -> list[str]:
    """Return the files that this run may write in `output_dir`. Raises `UserError`, see `claim`."""
    return claim(output_dir, SCRIPT, [LORA_FILE, *(MERGED if merged else ())])


def is_merged(output_dir: Path) -> bool:
    """Say whether the merged pipeline is there."""
    return all((output_dir / name).exists() for name in MERGED)


def is_finished(output_dir: Path, record: TrainingRecord, checkpoint: Path | None) -> bool:
    """Say whether `output_dir` holds just what this run would leave, whole.

    Raises `UserError` if it holds the result of another training run.
    """
    previous = TrainingRecord.read(output_dir)
    if not (output_dir / LORA_FILE).exists() or not previous.script:
        return False
    damage = find_lora_damage(output_dir, previous)
    decisive = ("base", "prompt", "scene", "steps", "settings", "identity")
    same = comparable(record, decisive) == comparable(previous, decisive)
    if not damage and same:
        return True
    if checkpoint is None and not same:
        raise UserError(
            f"{output_dir}: holds the result of another training run and no checkpoint to go on "
            "from; choose another --output_dir"
        )
    return False


def comparable(record: TrainingRecord, names: tuple[str, ...]) -> dict[str, Any]:
    """Return those entries of `record` as they come back from JSON."""
    entries = {name: getattr(record, name) for name in names}
    entries["settings"] = NEW_SETTINGS | record.settings
    return json.loads(json.dumps(entries))


def require_same(record: TrainingRecord, previous: TrainingRecord, checkpoint: Path) -> None:
    """Raise `UserError` if another training run than this one made a checkpoint, or a longer."""
    for thing, value in record.identity.items():
        if previous.identity.get(thing) != value:
            raise UserError(
                f"{checkpoint}: was trained with another {thing}; use the one that it was trained "
                "with, or another --output_dir"
            )
    before = NEW_SETTINGS | previous.settings
    for name, value in comparable(record, ("settings",))["settings"].items():
        saved = before.get(name)
        if name != "max_train_steps" and saved != value:
            raise UserError(
                f"{checkpoint}: was trained with --{name} {saved}, this run has {value}; "
                "give the same, or another --output_dir"
            )
    if previous.steps > record.steps:
        raise UserError(
            f"{checkpoint}: has {previous.steps} steps, this run --max_train_steps "
            f"{record.steps}; give as many or more, or another --output_dir"
        )
