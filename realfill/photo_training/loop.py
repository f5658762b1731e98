"""The training loop: a budget in steps or minutes, an average of the weights, resuming."""

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
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
LOG_EVERY = 50
SAVE_EVERY_SECONDS = 120
STATE_FILE = "training.safetensors"
LOG_FILE = "log.jsonl"


class OutOfTime(Exception):
    """The time of this run is over; the state is saved and the same command goes on."""


def cosine(share: float) -> float:
    """Return the share of the learning rate: a cosine to zero over the whole training."""
    return 0.5 + 0.5 * math.cos(math.pi * share)


def late_fall(share: float) -> float:
    """Return the share of the learning rate: a line to zero over the last third."""
    return min(1.0, 3 * (1 - share))


@dataclass(frozen=True)
class Plan:
    """How long a model trains, in all its runs together, and how fast."""

    learning_rate: float
    steps: int | None = None
    """Training ends after so many, or after so many `seconds`, whichever comes first."""
    seconds: float | None = None
    fall: Callable[[float], float] = cosine
    """From the share of the training that is done to the share of the learning rate."""
    averaged_steps: float = 100
    """The span of the average of the weights."""

    def share_done(self, step: int, seconds: float) -> float:
        """Return how much of the training is done, of 1."""
        by_steps = step / self.steps if self.steps else 0.0
        by_time = seconds / self.seconds if self.seconds else 0.0
        return min(1.0, max(by_steps, by_time))

    def rate(self, step: int, seconds: float) -> float:
        """Return the learning rate at `step`: a linear warm-up, then `fall`."""
        share = self.share_done(step, seconds)
        return self.learning_rate * min((step + 1) / WARM_UP, 1) * self.fall(share)


def train(
    model: Model,
    draw_loss: Callable[[int], Tensor],
    plan: Plan,
    folder: Path,
    deadline: float = math.inf,
) -> Model:
    """Train `model` by `plan`, from the state in `folder` on, and return its moving average.

    `draw_loss(step)` returns the loss of a fresh batch. Raises `OutOfTime` once
    `time.monotonic()` reaches `deadline` before the plan's end.
    """
    optimizer = torch.optim.AdamW(
        model.parameters(), plan.learning_rate, (0.9, 0.99), weight_decay=1e-2
    )
    decay = max(0.0, 1 - 1 / plan.averaged_steps)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))
    folder.mkdir(parents=True, exist_ok=True)
    step, before = restore(model, average, optimizer, folder / STATE_FILE)
    model.train()
    losses, started, saved = [], time.monotonic(), time.monotonic()
    seconds = before
    progress = tqdm(total=plan.steps, initial=step, unit="step", desc=folder.name)
    with progress:
        while plan.share_done(step, seconds) < 1:
            for group in optimizer.param_groups:
                group["lr"] = plan.rate(step, seconds)
            losses.append(take_step(model, optimizer, draw_loss(step)))
            average.update_parameters(model)
            step += 1
            progress.update()
            now = time.monotonic()
            seconds = before + now - started
            done = plan.share_done(step, seconds) >= 1
            if step % LOG_EVERY == 0 or done:
                loss = torch.stack(losses).mean().item()
                losses.clear()
                progress.set_postfix(loss=f"{loss:.4f}")
                append_log(folder / LOG_FILE, step, seconds, loss)
            if now - saved > SAVE_EVERY_SECONDS or now >= deadline or done:
                save(model, average, optimizer, step, seconds, folder / STATE_FILE)
                saved = now
            if now >= deadline and not done:
                raise OutOfTime(f"{folder.name}: {step} steps, {seconds / 60:.1f} minutes")
    return cast(Model, average.module.eval().requires_grad_(False))


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
