"""Where the hole should look in the references: a bias on the attention across the panels.

CorrFill (arXiv 2501.02355) guides attention by correspondences that it reads from the attention
itself; here they come from matches of the photos.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import torch
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
            self.known[places] = made.to(like.device, like.dtype)
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
    """Return the bias `(V * P, V * P)` in fp32: queries in rows, keys in columns, view after view.

    A query in the hole or near it, in any view, is drawn to the place of each reference that
    corresponds; all other pairs get 0.
    """
    canvas, (rows, columns) = bias.canvas, grid
    width, height = canvas.size
    y, x = np.mgrid[:rows, :columns] + 0.5
    x, y = x * width / columns, y * height / rows  # in pixels of the canvas
    step = width / columns
    rows_in, columns_in = np.nonzero(np.asarray(canvas.mask))
    queries = np.zeros((rows, columns), np.uint8)
    queries[rows_in * rows // height, columns_in * columns // width] = 1
    around = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * MARGIN + 1, 2 * MARGIN + 1))
    queries = (cv2.dilate(queries, around) > 0) & (x > canvas.left)
    share_x = (x - canvas.left) / (width - canvas.left)
    points = np.stack([share_x, y / height, np.ones_like(x)], -1)
    count, views = rows * columns, len(canvas.views)
    table = np.zeros((count, views, count), np.float32)
    for view, (transform, (first, last)) in enumerate(
        zip(bias.transforms, canvas.panels, strict=True)
    ):
        if transform is None:
            continue
        seen = points[queries] @ transform.T
        places = seen[:, :2] / np.where(np.abs(seen[:, 2:]) < 1e-9, np.nan, seen[:, 2:])
        inside = ((places >= 0) & (places <= 1)).all(1) & (seen[:, 2] > 0)
        place_x = first + places[:, 0] * (last - first)
        place_y = places[:, 1] * height
        distance = (x.ravel() - place_x[:, None]) ** 2 + (y.ravel() - place_y[:, None]) ** 2
        pull = bias.strength * np.exp(-distance / (2 * (SPREAD * step) ** 2))
        on_panel = (x.ravel() > first) & (x.ravel() < last)
        table[queries.ravel().nonzero()[0], view] = np.where(inside[:, None] & on_panel, pull, 0)
    return torch.from_numpy(table.reshape(count, views * count)).repeat(views, 1)
