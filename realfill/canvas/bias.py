"""Where the hole should look in the references: a bias on the attention across the panels.

CorrFill (arXiv 2501.02355) guides attention by correspondences that it reads from the attention
itself; here they come from matches of the photos.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from realfill.canvas.layout import Canvas
from realfill.settings import BIASES

STRENGTHS: dict[str, float] = dict(zip(BIASES, (0.0, 2.0, 6.0), strict=True))
"""Added to the logarithm of the attention at the place that corresponds."""
SPREAD = 1.0
"""Standard deviation of the bias around that place, in places of the attention's grid."""
MARGIN = 2
"""Places around the hole from which it applies as well."""


@dataclass
class Bias:
    """The bias at each grid that the attention of a UNet has for a canvas."""

    canvas: Canvas
    transforms: Sequence[np.ndarray | None]
    """By view, from the photo to the reference in units of their sides, `(3, 3)`."""
    strength: float
    latents: tuple[int, int]
    """Rows and columns of the canvas's latents."""
    known: dict[int, Tensor] = field(default_factory=dict)

    def at(self, places: int, like: Tensor) -> Tensor:
        """Return the bias `(V * places, V * places)` of V views, as `like` is placed and typed."""
        if places not in self.known:
            made = make_bias(self, grid_of(self.latents, places))
            self.known[places] = made.to(like.device, like.dtype).repeat(len(self.transforms), 1)
        return self.known[places]


def grid_of(latents: tuple[int, int], places: int) -> tuple[int, int]:
    """Return rows and columns of the attention's grid with so many places: each level halves."""
    rows, columns = latents
    while rows * columns > places:
        rows, columns = (rows + 1) // 2, (columns + 1) // 2
    assert rows * columns == places, "the UNet halves its grids otherwise"
    return rows, columns


def in_units(
    transform: np.ndarray | None, here: tuple[int, int], there: tuple[int, int]
) -> np.ndarray | None:
    """Return a transform of pixels as one of shares of the sides of both photos."""
    if transform is None:
        return None
    return np.diag([1 / there[0], 1 / there[1], 1]) @ transform @ np.diag([*here, 1])


def make_bias(bias: Bias, grid: tuple[int, int]) -> Tensor:
    """Return the bias `(P, V * P)` in fp32: the queries of any view, the keys view after view.

    A query in the hole or near it is drawn to the place of each reference that corresponds; all
    other pairs get 0.
    """
    canvas, (rows, columns) = bias.canvas, grid
    (width, height), count = canvas.size, rows * columns
    y, x = np.mgrid[:rows, :columns] + 0.5
    x, y = (x * width / columns).ravel(), (y * height / rows).ravel()  # in pixels of the canvas
    queries = (near_hole(canvas.mask, grid) & (x > canvas.left)).nonzero()[0]
    shares = [(x[queries] - canvas.left) / (width - canvas.left), y[queries] / height]
    points = np.stack([*shares, np.ones(len(queries))], -1)
    table = np.zeros((count, len(canvas.views), count), np.float32)
    for view, (first, last) in enumerate(canvas.panels):
        transform = bias.transforms[view]
        if transform is None:
            continue
        seen = points @ transform.T
        ahead = seen[:, 2] > 1e-9
        places = seen[:, :2] / np.where(ahead, seen[:, 2], 1)[:, None]
        inside = ahead & ((places >= 0) & (places <= 1)).all(1)
        aims = places * [last - first, height] + [first, 0]
        distance = (x - aims[:, :1]) ** 2 + (y - aims[:, 1:]) ** 2
        pull = bias.strength * np.exp(-distance / (2 * (SPREAD * width / columns) ** 2))
        table[queries, view] = np.where(inside[:, None] & (x > first) & (x < last), pull, 0)
    return torch.from_numpy(table.reshape(count, -1))


def near_hole(mask: Image.Image, grid: tuple[int, int]) -> np.ndarray:
    """Say which places of the grid lie in the hole of `mask` (L) or near it, bool `(P,)`."""
    (width, height), (rows, columns) = mask.size, grid
    y, x = np.nonzero(np.asarray(mask))
    found = np.zeros((rows, columns), np.uint8)
    found[y * rows // height, x * columns // width] = 1
    around = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * MARGIN + 1, 2 * MARGIN + 1))
    return cv2.dilate(found, around).ravel() > 0
