"""What of a training run a checkpoint holds, and bringing a run back to it."""

from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from realfill.errors import UserError
from realfill.model.lora import trainable
from realfill.training.checkpoints import (
    optimizer_tensors,
    restore_optimizer,
    with_prefix,
    without_prefix,
)
from realfill.training.loop import Training


def training_tensors(accelerator: Accelerator, training: Training) -> dict[str, Tensor]:
    """Return the parameters that train and the optimizer's state, for a checkpoint."""
    unet = trainable(accelerator.unwrap_model(training.unet))
    text_encoder = trainable(accelerator.unwrap_model(training.text_encoder))
    tensors = with_prefix("unet", unet) | with_prefix("text_encoder", text_encoder)
    if not all(tensor.isfinite().all() for tensor in tensors.values()):
        raise UserError(f"the weights are no longer finite at step {training.step}: stopped")
    return tensors | with_prefix("optimizer", optimizer_tensors(training.optimizer))


def training_state(accelerator: Accelerator, training: Training) -> dict[str, Any]:
    """Return the schedule and the loss scaling, for a checkpoint's JSON."""
    scaler = accelerator.scaler.state_dict() if accelerator.scaler else None
    return {"lr_scheduler": training.lr_scheduler.state_dict(), "scaler": scaler}


def restore_training(
    accelerator: Accelerator,
    training: Training,
    state: dict[str, Any],
    tensors: dict[str, Tensor],
) -> None:
    """Bring `training` to where a checkpoint was written."""
    for name, model in (("unet", training.unet), ("text_encoder", training.text_encoder)):
        saved = without_prefix(name, tensors)
        with torch.no_grad():
            for parameter_name, parameter in trainable(accelerator.unwrap_model(model)).items():
                parameter.copy_(saved[parameter_name])
    restore_optimizer(training.optimizer, without_prefix("optimizer", tensors))
    training.lr_scheduler.load_state_dict(state["lr_scheduler"])
    rates = training.lr_scheduler.get_last_lr()
    for group, rate in zip(training.optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
    if accelerator.scaler and state["scaler"]:
        accelerator.scaler.load_state_dict(state["scaler"])
    training.step = state["step"]
