"""Checkpoints of training: whole or absent, safetensors and JSON only.

`checkpoint-N/` holds the LoRA file and `realfill.json`, so that it samples like a finished
training, `training.safetensors` (trainable parameters in fp32 and the optimizer's state) and
`state.json` (step, schedule, and the hashes of the other files). Random
states are not kept: every step seeds its own, see `realfill.seeds`.
"""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from realfill.errors import UserError
from realfill.storage import appears_whole, file_hash, write_json, write_tensors

STATE_FILE = "state.json"
TENSORS_FILE = "training.safetensors"


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the state of `optimizer` as `{"<parameter index>.<name>": tensor}`."""
    return {
        f"{index}.{name}": torch.as_tensor(value).detach().cpu()
        for index, state in optimizer.state_dict()["state"].items()
        for name, value in state.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Give `optimizer` the state that `optimizer_tensors` returned; parameters must match."""
    state: dict[int, dict[str, Any]] = {}
    for key, tensor in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = tensor
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def with_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return `tensors` with `prefix` and a point before every name."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def without_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the `tensors` that `with_prefix` named, under their own names."""
    return {
        name.removeprefix(f"{prefix}."): tensor
        for name, tensor in tensors.items()
        if name.startswith(f"{prefix}.")
    }


def save_checkpoint(
    output_dir: Path,
    step: int,
    tensors: dict[str, Tensor],
    state: dict[str, Any],
    write_results: Callable[[Path], None],
    limit: int | None,
) -> None:
    """Write `checkpoint-<step>` and remove the oldest beyond `limit`.

    `write_results` puts the LoRA file and its record into the folder that it is given.
    """
    folder = output_dir / f"checkpoint-{step}"
    with appears_whole(folder) as temporary:
        temporary.mkdir()
        write_results(temporary)
        write_tensors(temporary / TENSORS_FILE, tensors)
        hashes = {path.name: file_hash(path) for path in temporary.iterdir()}
        write_json(temporary / STATE_FILE, state | {"step": step, "files": hashes})
        shutil.rmtree(folder, ignore_errors=True)  # a damaged one that was passed over
    for old in list_checkpoints(output_dir)[limit:] if limit else ():
        shutil.rmtree(old)


def list_checkpoints(output_dir: Path) -> list[Path]:
    """Return the checkpoints in `output_dir`, newest first."""
    numbered = [
        (int(path.name.removeprefix("checkpoint-")), path)
        for path in output_dir.glob("checkpoint-*")
        if path.name.removeprefix("checkpoint-").isdigit()
    ]
    return [path for _, path in sorted(numbered, reverse=True)]


def find_checkpoint(output_dir: Path, requested: str) -> Path | None:
    """Return the checkpoint to resume from: `requested`, or the newest undamaged for "latest".

    Returns None if "latest" finds none. Raises `UserError` if `requested` is unusable.
    """
    if requested != "latest":
        candidates = (Path(requested), output_dir / Path(requested).name)
        for folder in candidates:
            if folder.is_dir():
                if fault := find_damage(folder):
                    raise UserError(f"{folder}: {fault}; resume from another checkpoint")
                return folder
        raise UserError(f"{requested}: no such checkpoint; give its folder or 'latest'")
    for folder in list_checkpoints(output_dir):
        fault = find_damage(folder)
        if not fault:
            return folder
        print(f"{folder}: passed over, {fault}", file=sys.stderr)
    return None


def find_damage(folder: Path) -> str | None:
    """Say what is wrong with a checkpoint, or return None if it is whole."""
    try:
        hashes = json.loads((folder / STATE_FILE).read_text("utf-8"))["files"]
        for name, expected in hashes.items():
            if file_hash(folder / name) != expected:
                return f"{name} is damaged"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"damaged or no checkpoint ({error})"
    return None


def load_checkpoint(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read the state and the tensors of a checkpoint that `find_checkpoint` returned."""
    return json.loads((folder / STATE_FILE).read_text("utf-8")), load_file(folder / TENSORS_FILE)
