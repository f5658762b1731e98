"""What the photos say of a depth: the windows of those that see one thing there look alike."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import combinations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from realfill.geometry.planes import inverse_depth_of
from realfill.geometry.views import SMALLEST_BASELINE, View

WINDOW = 7
"""Side in pixels of the window that is compared."""
CHUNK = 8
"""Depths compared at once: bounds the memory."""
NOISE = 2e-4
"""Variance of grey values in [0, 1] below which a window counts as flat."""
TOO_NEAR = 0.2
"""Cost of twice the largest inverse depth that was seen: planes reach there, few things do."""


def pixel_grid(size: Sequence[int], device: torch.device | None = None) -> Tensor:
    """Return the pixel centres of a photo of `size` (H, W) as `(H, W, 2)` in [0, 1]."""
    height, width = size
    y = (torch.arange(height, device=device) + 0.5) / height
    x = (torch.arange(width, device=device) + 0.5) / width
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)


def sample(photo: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    """Sample `(C, H, W)` at `(N, h, w, 2)` in [0, 1]: `(N, C, h, w)`, and `(N, 1, h, w)` inside."""
    inside = ((places >= 0) & (places <= 1)).all(-1)[:, None].float()
    grid = torch.nan_to_num(places, -1.0) * 2 - 1
    photos = photo.expand(len(places), *photo.shape)
    return F.grid_sample(photos, grid, align_corners=False, padding_mode="border"), inside


def box(values: Tensor, side: int = WINDOW) -> Tensor:
    """Return the mean over a square window within the picture; `(N, C, H, W)`.

    Sums of shifted copies: on a CPU that is ten times as fast as `avg_pool2d`.
    """
    half = side // 2
    for axis, padding in ((-1, (half, half)), (-2, (0, 0, half, half))):
        length = values.shape[axis]
        total = running_sum(F.pad(values, padding), axis, side, length)
        place = torch.arange(length, device=values.device)
        count = (place + half).clamp(max=length - 1) - (place - half).clamp(min=0) + 1
        values = total * (1 / count if axis == -1 else 1 / count[:, None])
    return values


def running_sum(values: Tensor, axis: int, side: int, length: int) -> Tensor:
    """Return the sums of `side` neighbours along `axis`, `length` of them; by doubling."""
    total, start, span = values.new_zeros(()), 0, 1
    while True:
        if side & span:
            total = values.narrow(axis, start, length) + total
            start += span
        if 2 * span > side:
            return total
        count = values.shape[axis] - span
        values = values.narrow(axis, 0, count) + values.narrow(axis, span, count)
        span *= 2


@dataclass(frozen=True)
class Patches:
    """Photos as windows see them: grey values, and their mean, spread and validity in a window."""

    grey: Tensor
    mean: Tensor
    spread: Tensor
    whole: Tensor

    @classmethod
    def of(cls, grey: Tensor, valid: Tensor) -> "Patches":
        """Take `(N, 1, H, W)` in [0, 1]; a window counts where all of it is `valid` (0 or 1)."""
        mean = box(grey)
        spread = (box(grey.square()) - mean.square()).clamp_min(0) + NOISE
        return cls(grey, mean, spread.sqrt(), box(valid) > 0.999)

    def part(self, rows: slice, columns: slice) -> "Patches":
        """Return the patches of a part of the photos."""
        every = (self.grey, self.mean, self.spread, self.whole)
        return Patches(*(values[..., rows, columns] for values in every))

    def dissimilarity(self, other: "Patches") -> Tensor:
        """Return (1 - ZNCC) / 2 of each window, in [0, 1]; nan where one is not whole.

        The noise floor makes two flat windows undecided (one half); exposure does not matter.
        """
        cross = box(self.grey * other.grey) - self.mean * other.mean
        score = 0.5 * (1 - cross / (self.spread * other.spread))
        return torch.where(self.whole & other.whole, score.clamp(0, 1), torch.nan)


def vote(
    target: Tensor,
    known: Tensor,
    photos: list[Tensor],
    views: list[View],
    planes: Tensor,
    points: Tensor,
    largest: float,
) -> Tensor:
    """Return the cost volume `(D, H, W)` in [0, 1]; nan where nobody has a vote.

    `target` is `(1, H, W)` grey in [0, 1] with `known` `(1, H, W)` one where it may vote; `photos`
    are the grey references, and `points` where the pixels are in the target. `planes` are `(D, 3)`,
    or the inverse depths themselves, `(D, H, W)`, of which the `largest` is credible. Photos from
    one and the same place agree at every depth, so such pairs have no vote; `views` must hold one
    that stands apart from the target.
    """
    here = Patches.of(target[None], known[None])
    centers = [view.center for view in views]
    apart = SMALLEST_BASELINE / max(largest, 1e-9)
    voters = [index for index, center in enumerate(centers) if np.linalg.norm(center) > apart]
    couples = [
        (first, second)
        for first, second in combinations(range(len(views)), 2)
        if np.linalg.norm(centers[first] - centers[second]) > apart
    ]
    inner = box_of(known[0] < 1, WINDOW) if couples else None
    directions = [view.directions(points) for view in views]
    volume = []
    for chunk in planes.split(CHUNK):
        depths = chunk if chunk.ndim == 3 else inverse_depth_of(chunk, views[0], points)
        warped = [
            Patches.of(*sample(photo, view.see(rays, depths)))
            for photo, view, rays in zip(photos, views, directions, strict=True)
        ]
        cost = best_half([here.dissimilarity(warped[voter]) for voter in voters]).clone()
        if inner:
            parts = [patches.part(*inner) for patches in warped]
            pairs = [parts[first].dissimilarity(parts[second]) for first, second in couples]
            there = cost[(..., *inner)]
            cost[(..., *inner)] = torch.where(there.isnan(), best_half(pairs), there)
        if planes.ndim == 2:
            nearer = (depths / largest - 1).clamp(0, 1)[:, None]
            cost = torch.where((depths >= 0)[:, None], cost + TOO_NEAR * nearer, 1.0)
        volume.append(cost[:, 0])
    return torch.cat(volume)


def box_of(region: Tensor, margin: int) -> tuple[slice, slice] | None:
    """Return the rows and columns of a bool `(H, W)` region with a margin; None if it is empty."""
    if not region.any():
        return None
    slices = []
    for axis in (1, 0):
        places = region.any(axis).nonzero()
        first, last = int(places.min()), int(places.max()) + 1
        slices.append(slice(max(0, first - margin), min(len(region.any(axis)), last + margin)))
    return slices[0], slices[1]


def best_half(costs: list[Tensor]) -> Tensor:
    """Return the mean of the better half of the votes: the others may be hidden there."""
    counted = reduce(torch.add, [(~cost.isnan()).float() for cost in costs])
    kept = (counted / 2).ceil()
    ordered = [torch.nan_to_num(cost, 2.0) for cost in costs]
    for turn in range(len(ordered)):  # a sorting network: ten times as fast as `sort`
        for i in range(turn % 2, len(ordered) - 1, 2):
            low, high = ordered[i], ordered[i + 1]
            ordered[i], ordered[i + 1] = torch.minimum(low, high), torch.maximum(low, high)
    total = reduce(torch.add, [cost * (rank < kept) for rank, cost in enumerate(ordered)])
    return torch.where(counted > 0, total / kept.clamp_min(1), torch.nan)


def shrink(photo: Tensor, factor: int) -> Tensor:
    """Return a photo `(C, H, W)` as grey, `factor` times smaller each way, by area."""
    size = [max(1, round(side / factor)) for side in photo.shape[1:]]
    return F.interpolate(photo.mean(0, keepdim=True)[None], size=size, mode="area")[0]


def shrink_points(points: Tensor, factor: int) -> Tensor:
    """Return the places `(H, W, 2)` of the pixels of a photo that `shrink` made smaller."""
    size = [max(1, round(side / factor)) for side in points.shape[:2]]
    return F.interpolate(points.permute(2, 0, 1)[None], size=size, mode="area")[0].permute(1, 2, 0)
