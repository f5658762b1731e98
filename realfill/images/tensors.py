"""Photos as tensors."""

import numpy as np
import torch
from torch import Tensor


def to_tensor(pixels: np.ndarray) -> Tensor:
    """Return uint8 `(H, W, 3)` as `(3, H, W)` in [0, 1]."""
    return torch.tensor(pixels).permute(2, 0, 1).float() / 255


def to_pixels(photo: Tensor) -> np.ndarray:
    """Return `(3, H, W)` in [0, 1] as uint8 `(H, W, 3)`."""
    return (photo * 255).round().byte().permute(1, 2, 0).numpy()
