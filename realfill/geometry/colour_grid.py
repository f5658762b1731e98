"""A local change of colours: a coarse grid, over place and brightness, of affine transforms.

That is the bilateral grid of "Bilateral Guided Upsampling" (Chen et al., 2016). A patch of sky and
a wall beside it may change in different ways, and the change is smooth in both place and tone.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from realfill.geometry.colours import TOLERANCE, apply_tone

SIDES = (2, 3, 5, 9)
"""Nodes a side of the grids that are fitted in turn, each to what the coarser one leaves."""
TOLERANCES = (4 * TOLERANCE, 2 * TOLERANCE, TOLERANCE)
"""Colour errors, of 1, beyond which a pixel counts less and less, in the rounds of a fit."""
MOST_SAMPLES = 20000
"""Pixels that a grid is fitted to at most."""
HOLD = 0.001
"""Weight of the coarser grid's transform at a node, over that of all pixels."""


class Recolouring(NamedTuple):
    """How a reference's colours become the target's."""

    tone: Tensor
    """The curve of `fit_tone`, `(7, 3)`."""
    grid: Tensor | None
    """What the curve leaves, `(12, n, n, n)`; None if the curve alone is no worse."""
    corners: Tensor
    """`(2, 2)`: the places in the target, in [0, 1], of the grid's first and last node."""


def recolour(photo: Tensor, change: Recolouring, points: Tensor) -> Tensor:
    """Return a photo `(3, H, W)` in the target's colours, in [0, 1].

    `points` `(H, W, 2)` says where its pixels are in the target, in [0, 1].
    """
    toned = apply_tone(photo, change.tone)
    if change.grid is None:
        return toned
    colours = toned.flatten(1)
    shift = look_up(change.grid, nodes_of(colours, points.reshape(-1, 2), change.corners), colours)
    return (colours + shift).reshape(photo.shape).clamp(0, 1)


def recolour_each(warped: Tensor, changes: list[Recolouring], points: Tensor) -> Tensor:
    """Return the warped photos `(N, 3, H, W)` in the target's colours; see `recolour`."""
    pairs = zip(warped, changes, strict=True)
    return torch.stack([recolour(photo, change, points) for photo, change in pairs])


def fit_grid(
    photo: Tensor, target: Tensor, common: Tensor, points: Tensor, corners: Tensor
) -> Tensor:
    """Return the grid `(12, n, n, n)` that brings `photo` to the target's colours.

    Both are `(3, H, W)` in [0, 1], the photo through its tone curve already; `common` (bool
    `(H, W)`) is what both see of the known region. At each node what the coarser grid leaves is
    fitted by least squares, reweighted against what does not fit, and held near zero: where
    nothing is known around a node, the coarser grid stays.
    """
    chosen = common.flatten().nonzero()[:, 0]
    chosen = chosen[:: max(1, len(chosen) // MOST_SAMPLES)]
    colours, wanted = photo.flatten(1)[:, chosen], target.flatten(1)[:, chosen]
    nodes = nodes_of(colours, points.reshape(-1, 2)[chosen], corners)
    inputs = terms(colours)
    squares = (inputs[:, None] * inputs).flatten(0, 1)
    grid = photo.new_zeros(12, 1, 1, 1)
    for side in SIDES:
        size = (side, side, side)
        coarser = F.interpolate(grid[None], size=size, mode="trilinear", align_corners=True)[0]
        left = wanted - colours - look_up(coarser, nodes, colours)
        products = (left[:, None] * inputs).flatten(0, 1)
        hold = (1 + HOLD * len(chosen)) / side * torch.eye(4).to(photo)
        grid = coarser
        for tolerance in TOLERANCES:
            errors = wanted - colours - look_up(grid, nodes, colours)
            weights = 1 / (1 + errors.square().sum(0) / tolerance**2)
            sums = gather(torch.cat([squares, products]) * weights, nodes, side).flatten(1).T
            matrices, rights = sums[:, :16].reshape(-1, 4, 4), sums[:, 16:].reshape(-1, 3, 4)
            found = torch.linalg.solve(matrices + hold, rights.mT)
            grid = coarser + found.mT.reshape(-1, 12).T.reshape(12, *size)
    return grid


def terms(colours: Tensor) -> Tensor:
    """Return the terms `(4, N)` of an affine transform of `(3, N)` colours."""
    return torch.cat([colours, torch.ones_like(colours[:1])])


def nodes_of(colours: Tensor, places: Tensor, corners: Tensor) -> Tensor:
    """Return where colours `(3, N)` at `places` `(N, 2)` are in a grid: `(N, 3)` in [0, 1]."""
    across = (places - corners[0]) / (corners[1] - corners[0]).clamp_min(1e-6)
    return torch.cat([across, colours.mean(0)[:, None]], 1).clamp(0, 1)


def look_up(grid: Tensor, nodes: Tensor, colours: Tensor) -> Tensor:
    """Return what a grid adds to the colours `(3, N)` at `nodes`."""
    where = nodes[None, None, None] * 2 - 1
    found = F.grid_sample(grid[None], where, align_corners=True)[0, :, 0, 0]
    return (found.reshape(3, 4, -1) * terms(colours)).sum(1)


def gather(values: Tensor, nodes: Tensor, side: int) -> Tensor:
    """Sum values `(C, N)` into the nodes around them, by nearness: `(C, side, side, side)`."""
    steps = torch.arange(side).to(nodes)[:, None]
    x, y, z = ((1 - (along * (side - 1) - steps).abs()).clamp_min(0) for along in nodes.T)
    depth_and_row = (z[:, None] * y).flatten(0, 1)
    sums = (values[:, None] * x).flatten(0, 1) @ depth_and_row.T
    return sums.reshape(len(values), side, side, side).permute(0, 2, 3, 1)
