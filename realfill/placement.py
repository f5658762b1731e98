"""Bringing tensors and models to a device."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def upload(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a small `tensor` to `device` without waiting for what the device is still doing."""
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


@contextmanager
def brought_to(device: torch.device, *models: nn.Module) -> Iterator[None]:
    """Have `models` on `device` for a while, then where they were before."""
    homes = [next(model.parameters()).device for model in models]
    for model in models:
        model.to(device)
    try:
        yield
    finally:
        for model, home in zip(models, homes, strict=True):
            model.to(home)
