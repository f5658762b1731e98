"""The tensors that a checkpoint of a training run holds."""

import torch
from diffusers import StableDiffusionInpaintPipeline
from torch import Tensor
from torch.optim import Optimizer

from realfill.model.lora import trainable
from realfill.training.checkpoints import (
    optimizer_tensors,
    restore_optimizer,
    with_prefix,
    without_prefix,
)

MODELS = ("unet", "text_encoder")


def training_tensors(
    pipeline: StableDiffusionInpaintPipeline, optimizer: Optimizer
) -> dict[str, Tensor]:
    """Return the parameters that train and the state of `optimizer`."""
    tensors = with_prefix("optimizer", optimizer_tensors(optimizer))
    for name in MODELS:
        tensors |= with_prefix(name, trainable(getattr(pipeline, name)))
    return tensors


@torch.no_grad()
def restore_tensors(
    pipeline: StableDiffusionInpaintPipeline, optimizer: Optimizer, tensors: dict[str, Tensor]
) -> None:
    """Put what `training_tensors` returned back into its places."""
    for name in MODELS:
        saved = without_prefix(name, tensors)
        for parameter, value in trainable(getattr(pipeline, name)).items():
            value.copy_(saved[parameter])
    restore_optimizer(optimizer, without_prefix("optimizer", tensors))
