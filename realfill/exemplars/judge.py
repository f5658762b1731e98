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

from realfill.exemplars.patches import CELL, describe, nearest
from realfill.images.tensors import to_tensor

HEIGHT = 96
"""Pixels: the height of the photo at which completions are judged."""
CELLS = 5
"""Squares that describe a patch, each way; see `describe`."""
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
    small = cv2.resize(completion, size, interpolation=cv2.INTER_AREA)
    described = describe(to_tensor(small), CELLS)
    inner = cv2.resize(hole.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0
    depth, distance = (
        cv2.distanceTransform(region.astype(np.uint8), cv2.DIST_L2, 5) for region in (inner, ~inner)
    )
    edge = torch.from_numpy(np.where(inner, depth, distance) <= REACH)
    looked_at = [described[:, torch.from_numpy(~inner & (distance > 2 * REACH))]]
    for source in sources:
        small = cv2.resize(source, small_size(source), interpolation=cv2.INTER_AREA)
        looked_at.append(describe(to_tensor(small), CELLS).flatten(1))
    candidates = torch.cat(looked_at, 1)[:, ::2]  # every other: neighbours are alike
    if not edge.any() or not candidates.numel():
        return 0.0
    return float(nearest(described[:, edge].T, candidates)[0].sqrt().mean())


def small_size(photo: np.ndarray) -> tuple[int, int]:
    """Return the width and height of a photo that is 96 px high."""
    return max(1, round(photo.shape[1] * HEIGHT / photo.shape[0])), HEIGHT
