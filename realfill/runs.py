"""What a training run is: its output folder, its seed, and whether it goes on from another."""

import json
import secrets
from pathlib import Path
from typing import Any

from accelerate.utils import broadcast_object_list

from realfill.checkpoints import find_checkpoint, remove_partial_writes
from realfill.errors import UserError
from realfill.files import require_writable
from realfill.models import LORA_FILE
from realfill.record import read_record


def check_output(output_dir: Path, resume: str | None) -> Path | None:
    """Return the checkpoint to go on from. Raises `UserError` where a training is there already."""
    require_writable(output_dir)
    remove_partial_writes(output_dir)
    if resume:
        return find_checkpoint(output_dir, resume)
    if (output_dir / LORA_FILE).exists() or any(output_dir.glob("checkpoint-*")):
        raise UserError(
            f"{output_dir}: holds a training already; go on with --resume_from_checkpoint latest, "
            "or choose another --output_dir"
        )
    return None


def choose_seed(requested: int | None, record: dict[str, Any]) -> int:
    """Return the seed asked for, the recorded one, or a new one that all processes share."""
    if requested is not None:
        return requested
    recorded = record.get("settings", {}).get("seed")
    if recorded is not None:
        return recorded
    return broadcast_object_list([secrets.randbelow(2**31)])[0]


def is_finished(output_dir: Path, record: dict[str, Any]) -> bool:
    """Say whether `output_dir` holds just what this run would leave.

    Raises `UserError` where it holds the result of another training.
    """
    previous = read_record(output_dir)
    if not (output_dir / LORA_FILE).exists() or not previous:
        return False
    if previous == json.loads(json.dumps(record)):
        return True
    if not any(output_dir.glob("checkpoint-*")):
        raise UserError(
            f"{output_dir}: holds the result of another training and no checkpoint to go on from; "
            "choose another --output_dir"
        )
    return False


def require_same(record: dict[str, Any], previous: dict[str, Any], checkpoint: Path) -> None:
    """Raise `UserError` where a checkpoint was made by another training than this one."""
    for thing, value in record["identity"].items():
        if previous["identity"][thing] != value:
            raise UserError(
                f"{checkpoint}: was trained with another {thing}; use the one that it was trained "
                "with, or another --output_dir"
            )
    for name, value in json.loads(json.dumps(record["settings"])).items():
        saved = previous["settings"].get(name)
        if name != "max_train_steps" and saved != value:
            raise UserError(
                f"{checkpoint}: was trained with --{name} {saved}, this run has {value}; "
                "give the same, or another --output_dir"
            )
