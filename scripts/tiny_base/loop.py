"""The training loop of both parts: a budget in steps, an average of the weights, resuming."""

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, cast

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from realfill.storage import write_tensors
from realfill.training.checkpoints import (
    optimizer_tensors,
    restore_optimizer,
    with_prefix,
    without_prefix,
)

Model = TypeVar("Model", bound=nn.Module)
WARM_UP = 100
AVERAGED_SHARE = 0.02
"""Of the run: the span of the average. A longer one lost 0.7 dB of reconstruction."""
LOG_EVERY = 50
SAVE_EVERY_SECONDS = 120
STATE_FILE = "training.safetensors"
LOG_FILE = "log.jsonl"


class OutOfTime(Exception):
    """The time of this run is over; the state is saved and the same command goes on."""


def train(
    model: Model,
    draw_loss: Callable[[int], Tensor],
    steps: int,
    learning_rate: float,
    folder: Path,
    deadline: float,
) -> Model:
    """Train `model` to `steps`, from the state in `folder` on, and return its moving average.

    `draw_loss(step)` returns the loss of a fresh batch. The learning rate warms up and falls to
    zero as a cosine over `steps`. Raises `OutOfTime` once `time.monotonic()` reaches `deadline`.
    """
    optimizer = torch.optim.AdamW(model.parameters(), learning_rate, (0.9, 0.99), weight_decay=1e-2)
    decay = max(0.0, 1 - 1 / (AVERAGED_SHARE * steps))
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))
    folder.mkdir(parents=True, exist_ok=True)
    step, seconds = restore(model, average, optimizer, folder / STATE_FILE)
    model.train()
    losses, started, saved = [], time.monotonic(), time.monotonic()
    progress = tqdm(total=steps, initial=step, unit="step", desc=folder.name)
    with progress:
        while step < steps:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * rate_factor(step, steps)
            losses.append(take_step(model, optimizer, draw_loss(step)))
            average.update_parameters(model)
            step += 1
            progress.update()
            now = time.monotonic()
            if step % LOG_EVERY == 0 or step == steps:
                loss = torch.stack(losses).mean().item()
                losses.clear()
                progress.set_postfix(loss=f"{loss:.4f}")
                append_log(folder / LOG_FILE, step, seconds + now - started, loss)
            if now - saved > SAVE_EVERY_SECONDS or now >= deadline or step == steps:
                save(model, average, optimizer, step, seconds + now - started, folder / STATE_FILE)
                saved = now
            if now >= deadline and step < steps:
                raise OutOfTime(f"{folder.name}: {step} of {steps} steps")
    return cast(Model, average.module.eval().requires_grad_(False))


def rate_factor(step: int, steps: int) -> float:
    """Return the share of the learning rate at `step`: linear warm-up, then a cosine to zero."""
    return min((step + 1) / WARM_UP, 1) * (0.5 + 0.5 * math.cos(math.pi * step / steps))


def take_step(model: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor) -> Tensor:
    """Move the weights by one step; return the loss, still on the device."""
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return loss.detach()


def append_log(path: Path, step: int, seconds: float, loss: float) -> None:
    """Add a line to the log: the mean loss since the line before, and the time spent so far."""
    with path.open("a") as lines:
        lines.write(json.dumps({"step": step, "seconds": round(seconds, 1), "loss": loss}) + "\n")


def save(
    model: nn.Module,
    average: AveragedModel,
    optimizer: torch.optim.Optimizer,
    step: int,
    seconds: float,
    path: Path,
) -> None:
    """Write all that `restore` needs."""
    tensors = with_prefix("model", model.state_dict())
    tensors |= with_prefix("average", average.state_dict())
    tensors |= with_prefix("optimizer", optimizer_tensors(optimizer))
    tensors |= {"step": torch.tensor(step), "seconds": torch.tensor(seconds)}
    write_tensors(path, tensors)


def restore(
    model: nn.Module, average: AveragedModel, optimizer: torch.optim.Optimizer, path: Path
) -> tuple[int, float]:
    """Bring the training run to where it was saved; return the steps and the seconds done."""
    if not path.exists():
        return 0, 0.0
    tensors = load_file(path)
    model.load_state_dict(without_prefix("model", tensors))
    average.load_state_dict(without_prefix("average", tensors))
    restore_optimizer(optimizer, without_prefix("optimizer", tensors))
    return read_progress(path)


def read_progress(path: Path) -> tuple[int, float]:
    """Return the steps and the seconds that the training saved in `path` has taken."""
    tensors = load_file(path)
    return int(tensors["step"]), tensors["seconds"].item()
