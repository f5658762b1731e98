"""Patches: how the surroundings of a pixel are described and compared."""

import torch
import torch.nn.functional as F
from torch import Tensor

CELL = 3
"""Side in pixels of the squares whose mean colours describe a patch."""


def describe(pixels: Tensor, cells: int) -> Tensor:
    """Return the patch around each pixel of `(3, H, W)` as `(3 * cells**2, H, W)`.

    It is the mean colours of `cells` by `cells` squares of three pixels; `cells` is odd.
    """
    height, width = pixels.shape[1:]
    means = F.avg_pool2d(F.pad(pixels[None], (CELL // 2,) * 4, mode="replicate"), CELL, 1)
    reach = (cells - 1) * CELL // 2
    means = F.pad(means, (reach,) * 4, mode="replicate")[0]
    steps = range(0, cells * CELL, CELL)
    return torch.cat([means[:, y : y + height, x : x + width] for y in steps for x in steps])


def nearest(wanted: Tensor, candidates: Tensor) -> tuple[Tensor, Tensor]:
    """Return the squared distance of each of `(N, D)` to the nearest of `(D, M)`, and its index."""
    lengths = candidates.square().sum(0)
    found = [torch.addmm(lengths, chunk, candidates, alpha=-2).min(1) for chunk in wanted.split(64)]
    distances = torch.cat([each.values for each in found]) + wanted.square().sum(1)
    return distances.clamp_min(0), torch.cat([each.indices for each in found])
