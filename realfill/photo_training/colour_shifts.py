"""Random shifts of colour, such as an autoencoder and a sampler leave in what they fill."""

import torch
import torch.nn.functional as F
from torch import Tensor

EXPOSURE = 0.5
"""In stops, each way."""
WHITE_BALANCE = 0.15
"""In stops, each way and of each channel."""
CONTRAST = 0.3
"""As a power of e, each way; the same for `GAMMA`."""
GAMMA = 0.3
FIELD = 0.08
"""Deviation of a smooth field that is added to values in [0, 1]."""
FIELD_SIDE = 3
"""Values each way that the field is interpolated from."""


def shift_colours(photos: Tensor, generator: torch.Generator) -> Tensor:
    """Return `photos`, `(N, 3, H, W)` in [-1, 1], each with another shift of its colours.

    Exposure, white balance, gamma, contrast about the mean, and a smooth field are drawn with
    `generator`, which is of the photos' device.
    """
    count, device = len(photos), photos.device

    def uniform(spread: float, channels: int = 1) -> Tensor:
        drawn = torch.rand(count, channels, 1, 1, generator=generator, device=device)
        return spread * (2 * drawn - 1)

    values = (photos + 1) / 2
    values = values * torch.exp2(uniform(EXPOSURE) + uniform(WHITE_BALANCE, 3))
    values = values.clamp(1e-4, 1) ** uniform(GAMMA).exp()
    mean = values.mean((1, 2, 3), keepdim=True)
    values = mean + (values - mean) * uniform(CONTRAST).exp()
    size = (count, 3, FIELD_SIDE, FIELD_SIDE)
    field = FIELD * torch.randn(size, generator=generator, device=device)
    values = values + F.interpolate(
        field, size=photos.shape[2:], mode="bicubic", align_corners=True
    )
    return 2 * values.clamp(0, 1) - 1
