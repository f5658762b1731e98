"""Joining pieces of photos so that no step in colour shows between them (Pérez et al., 2003)."""

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from realfill.images.blend import composite, hole_of, resize
from realfill.images.tensors import to_tensor

LARGEST_STEP = 0.12
"""The largest step in colour, of 1, that is taken out of a seam; what is beyond it is an edge."""
REACH = 0.3
"""How far a correction is carried, over the square root of the hole's area."""
MEGAPIXELS = 1.0
"""The largest size at which corrections are computed; they are smooth, and larger photos many."""
ROUNDS = 40
"""Rounds of relaxation at each size."""


def blend(completion: Image.Image, target: Image.Image, mask: Image.Image) -> Image.Image:
    """Join `completion` (RGB, any size) to `target` (RGB) and blend it in by the feathered `mask`.

    `mask` is L, 0 or 255. Outside the feathered mask the result is the target, byte for byte.
    """
    if not mask.getbbox():
        return target
    sampled, known = np.asarray(resize(completion, target.size)), np.asarray(target)
    hole = hole_of(mask)
    joined = join(np.where(hole[..., None], sampled, known), hole, np.zeros(hole.shape, np.int32))
    # Beyond the hole the completion stays as it is: the feather then softens what step is left.
    image = Image.fromarray(np.where(hole[..., None], joined, sampled))
    return composite(image, target, mask)


def join(picture: np.ndarray, hole: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return `picture` with the colours in the `hole` shifted so that no seam shows.

    `picture` is uint8 `(H, W, 3)`, `hole` bool `(H, W)`; `labels`, int `(H, W)`, tells the pieces
    in the hole apart. Outside the hole nothing changes.
    """
    box = box_around(hole, 2)
    pixels, inner = picture[box], hole[box]
    pieces = np.where(inner, labels[box] + 1, 0)
    scale = min(1.0, (MEGAPIXELS * 1e6 / inner.size) ** 0.5)
    size = tuple(max(1, round(side * scale)) for side in inner.shape[::-1])
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    nearest = cv2.resize(pieces.astype(np.int32), size, interpolation=cv2.INTER_NEAREST_EXACT)
    change = correction(small, nearest)
    change = cv2.resize(change, inner.shape[::-1], interpolation=cv2.INTER_LINEAR)
    result = picture.copy()
    result[box][inner] = (pixels[inner] + change[inner]).clip(0, 255).round().astype(np.uint8)
    return result


def box_around(region: np.ndarray, margin: int) -> tuple[slice, slice]:
    """Return the rows and columns of the box around a bool `(H, W)` region, and `margin` more."""
    slices = []
    for axis, side in ((1, region.shape[0]), (0, region.shape[1])):
        places = np.flatnonzero(region.any(axis))
        slices.append(slice(max(0, places[0] - margin), min(side, places[-1] + 1 + margin)))
    return slices[0], slices[1]


def correction(pixels: np.ndarray, pieces: np.ndarray) -> np.ndarray:
    """Return what to add to uint8 `(H, W, 3)` pixels, float32: zero where `pieces` is 0."""
    values = to_tensor(pixels)
    labels = torch.from_numpy(pieces)
    down, across = values.diff(dim=1), values.diff(dim=2)
    limit = LARGEST_STEP
    down = torch.where(labels.diff(dim=0) != 0, down - down.clamp(-limit, limit), down)
    across = torch.where(labels.diff(dim=1) != 0, across - across.clamp(-limit, limit), across)
    inner = labels > 0
    hold = 1 / (REACH**2 * float(inner.sum()))
    solved = solve(values, inner, down, across, hold)
    return ((solved - values) * 255).permute(1, 2, 0).numpy()


def solve(values: Tensor, inner: Tensor, down: Tensor, across: Tensor, hold: float) -> Tensor:
    """Return `(3, H, W)` with the steps `down` and `across` where `inner`, `values` elsewhere.

    `hold` keeps it near `values` far from the seams. Solved from a quarter of the pixels upwards.
    """
    start = values
    if min(inner.shape) >= 8:
        coarse = coarsen(values, inner, down, across)
        change = (solve(*coarse, 4 * hold) - coarse[0])[None]
        change = F.interpolate(change, size=inner.shape, mode="bilinear", align_corners=False)[0]
        start = torch.where(inner, values + change, values)
    return relax(start, values, inner, down, across, hold)


def coarsen(
    values: Tensor, inner: Tensor, down: Tensor, across: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the same problem for squares of two by two pixels."""
    rows, columns = (-(-side // 2) for side in inner.shape)
    odd = (0, 2 * columns - inner.shape[1], 0, 2 * rows - inner.shape[0])
    whole = F.avg_pool2d(F.pad(inner[None, None].float(), odd, mode="replicate"), 2)[0, 0] == 1
    known = F.pad((~inner)[None, None].float(), odd, mode="replicate")
    padded = F.pad(values[None], odd, mode="replicate")
    of_known = F.avg_pool2d(padded * known, 2) / F.avg_pool2d(known, 2).clamp_min(1e-6)
    small = torch.where(whole, F.avg_pool2d(padded, 2), of_known)[0]
    across = coarse_steps(across.mT, columns, rows).mT
    return small, whole, coarse_steps(down, rows, columns), across


def coarse_steps(steps: Tensor, rows: int, columns: int) -> Tensor:
    """Return the steps between rows of squares, `(3, rows - 1, columns)`, from those of pixels.

    From the middle of one square to the next are half a step, a whole one and half a step.
    """
    wider = F.pad(steps[None], (0, 2 * columns - steps.shape[2], 0, 0), mode="replicate")
    padded = F.pad(wider, (0, 0, 0, 2 * rows - steps.shape[1]))
    wide = F.avg_pool2d(padded, (1, 2))[0]
    first, middle, last = (wide[:, start : start + 2 * rows - 2 : 2] for start in (0, 1, 2))
    return 0.5 * first + middle + 0.5 * last


def relax(
    start: Tensor, values: Tensor, inner: Tensor, down: Tensor, across: Tensor, hold: float
) -> Tensor:
    """Return `start` after rounds of Jacobi's relaxation towards the solution."""
    wanted = hold * values
    wanted[:, 1:] += down
    wanted[:, :-1] -= down
    wanted[..., 1:] += across
    wanted[..., :-1] -= across
    neighbours = torch.full_like(values[:1], 4 + hold)
    neighbours[:, 0] -= 1
    neighbours[:, -1] -= 1
    neighbours[..., 0] -= 1
    neighbours[..., -1] -= 1
    for _ in range(ROUNDS):
        total = wanted.clone()
        total[:, 1:] += start[:, :-1]
        total[:, :-1] += start[:, 1:]
        total[..., 1:] += start[..., :-1]
        total[..., :-1] += start[..., 1:]
        start = torch.where(inner, total / neighbours, start)
    return start
