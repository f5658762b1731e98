"""Judging completions from exemplars without knowing the truth.

Around the edge of the hole, half of what a patch shows is known. If the other half is right, the
references, or the photo elsewhere, hold patches like it. So the patches across the edge are looked
up there, in a size at which only the layout counts; the farther the nearest are, the stranger the
completion.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

HEIGHT = 96
"""Pixels: the height of the photo at which completions are judged."""
CELLS, CELL = 5, 3
"""A patch is described by this many by this many means of squares with this side."""
REACH = CELLS * CELL // 2
"""Pixels from the hole's edge within which a patch shows both sides of it."""


def edge_strangeness(
    completion: np.ndarray, hole: np.ndarray, sources: Sequence[np.ndarray]
) -> float:
    """Return the mean distance of the patches across the hole's edge to the likest elsewhere.

    Elsewhere is in `sources` and in the known part of the completion, away from the hole. All are
    uint8 `(H, W, 3)`, the sources of any size; `hole` is bool `(H, W)`. A distance is the root of
    the summed squared differences of 25 RGB colours in [0, 1]; 0 if there is nothing to look at.
    """
    size = small_size(completion)
    described = describe(cv2.resize(completion, size, interpolation=cv2.INTER_AREA))
    inner = cv2.resize(hole.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0
    depth, distance = (
        cv2.distanceTransform(region.astype(np.uint8), cv2.DIST_L2, 5) for region in (inner, ~inner)
    )
    edge = torch.from_numpy(np.where(inner, depth, distance) <= REACH)
    looked_at = [described[:, torch.from_numpy(~inner & (distance > 2 * REACH))]]
    for source in sources:
        small = cv2.resize(source, small_size(source), interpolation=cv2.INTER_AREA)
        looked_at.append(describe(small).flatten(1))
    candidates = torch.cat(looked_at, 1)[:, ::2]  # every other: neighbours are alike
    if not edge.any() or not candidates.numel():
        return 0.0
    return float(nearest_distances(described[:, edge].T, candidates).sqrt().mean())


def small_size(photo: np.ndarray) -> tuple[int, int]:
    """Return the width and height of a photo that is 96 px high."""
    return max(1, round(photo.shape[1] * HEIGHT / photo.shape[0])), HEIGHT


def describe(photo: np.ndarray) -> Tensor:
    """Return the patch around each pixel of uint8 `(h, w, 3)`, `(75, h, w)` in [0, 1]."""
    pixels = torch.tensor(photo).permute(2, 0, 1)[None].float() / 255
    height, width = photo.shape[:2]
    means = F.avg_pool2d(F.pad(pixels, (CELL // 2,) * 4, mode="replicate"), CELL, 1)
    reach = (CELLS - 1) * CELL // 2
    means = F.pad(means, (reach,) * 4, mode="replicate")[0]
    steps = range(0, CELLS * CELL, CELL)
    return torch.cat([means[:, y : y + height, x : x + width] for y in steps for x in steps])


def nearest_distances(wanted: Tensor, candidates: Tensor) -> Tensor:
    """Return the squared distance of each of `(N, D)` to the nearest of `(D, M)`."""
    lengths = candidates.square().sum(0)
    nearest = [
        torch.addmm(lengths, chunk, candidates, alpha=-2).amin(1) for chunk in wanted.split(256)
    ]
    return (torch.cat(nearest) + wanted.square().sum(1)).clamp_min(0)
