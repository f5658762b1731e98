"""Panels: the sources of pieces, side by side on one canvas with the target.

A panel is a photo seen at the target's scale. `to_photo` takes its pixels to the photo's own, so
that a piece found at the small size of the layout is copied at the photo's full size.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch

from realfill.geometry.colours import apply_tone
from realfill.images.tensors import to_pixels, to_tensor

SEPARATOR = 2
"""Pixels between panels on the canvas."""
PIXEL_CENTRES = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
"""Takes whole-number coordinates of pixel centres, OpenCV's, to those with centres at .5, ours."""


@dataclass(frozen=True)
class Panel:
    """One source of pieces."""

    name: str
    """The reference's file name, or one of `provenance.TARGET` and `provenance.GEOMETRY`."""
    photo: np.ndarray
    """uint8 `(H, W, 3)`, at its own size."""
    to_photo: np.ndarray
    """`(3, 3)`: takes a pixel (x, y, 1) of the panel to the photo; pixel centres are at .5."""
    size: tuple[int, int]
    """Width and height in pixels of the target's scale."""
    usable: np.ndarray | None = None
    """bool `(H, W)` of the photo: what may be copied; None is everything."""
    tone: np.ndarray | None = None
    """The curve, see `fit_tone`, that brings the photo to the target's tone."""

    def toned(self, pixels: np.ndarray) -> np.ndarray:
        """Return pixels of the photo, uint8 `(N, M, 3)`, in the target's tone."""
        if self.tone is None or not pixels.size:
            return pixels
        return to_pixels(apply_tone(to_tensor(pixels), torch.from_numpy(self.tone)))


@dataclass(frozen=True)
class Canvas:
    """Panels side by side, all at one scale; the target is at the corner (0, 0)."""

    pixels: np.ndarray
    """uint8 `(H, W, 3)`; black where there is nothing."""
    usable: np.ndarray
    """bool `(H, W)`: what may be copied."""
    panels: list[Panel]
    boxes: list[tuple[int, int, int, int]]
    """Left, top, width and height of each panel on the canvas."""


def lay_out(panels: list[Panel], megapixels: float) -> Canvas:
    """Put the panels, the target first, into a near-square grid of about `megapixels` at most.

    PatchMatch searches up to half the shorter side away, so a strip would be searched badly.
    """
    area = sum(panel.size[0] * panel.size[1] for panel in panels)
    scale = min(1.0, (megapixels * 1e6 / area) ** 0.5)
    drawn = [draw(panel, scale) for panel in panels]
    columns = int(np.ceil(len(drawn) ** 0.5))
    rows = [drawn[first : first + columns] for first in range(0, len(drawn), columns)]
    heights = [max(pixels.shape[0] for pixels, _ in row) + SEPARATOR for row in rows]
    width = max(sum(pixels.shape[1] + SEPARATOR for pixels, _ in row) for row in rows)
    canvas = np.zeros((sum(heights), width, 3), np.uint8)
    usable = np.zeros(canvas.shape[:2], bool)
    boxes, top = [], 0
    for row, row_height in zip(rows, heights, strict=True):
        left = 0
        for pixels, inside in row:
            height, width = inside.shape
            canvas[top : top + height, left : left + width] = pixels
            usable[top : top + height, left : left + width] = inside
            boxes.append((left, top, width, height))
            left += width + SEPARATOR
        top += row_height
    return Canvas(canvas, usable, panels, boxes)


def draw(panel: Panel, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the panel at `scale`: uint8 `(h, w, 3)`, and bool `(h, w)` what may be copied."""
    width, height = (max(1, round(side * scale)) for side in panel.size)
    to_panel = np.diag([panel.size[0] / width, panel.size[1] / height, 1])
    photo, to_photo = shrink(panel.photo, panel.to_photo @ to_panel)
    matrix = np.linalg.inv(PIXEL_CENTRES) @ to_photo @ PIXEL_CENTRES
    usable = np.ones(photo.shape[:2], np.float32)
    if panel.usable is not None:
        usable = panel.usable.astype(np.float32)
        usable = cv2.resize(usable, photo.shape[1::-1], interpolation=cv2.INTER_AREA)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    pixels = cv2.warpPerspective(
        photo, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE
    )
    inside = cv2.warpPerspective(usable, matrix, (width, height), flags=flags)
    return panel.toned(pixels), inside > 0.99


def shrink(photo: np.ndarray, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return `photo` shrunk by area as far as sampling it by `matrix` would skip pixels.

    With it comes the `(3, 3)` that takes the same points to the shrunk photo.
    """
    step = abs(np.linalg.det(matrix[:2, :2])) ** 0.5
    if step <= 1:
        return photo, matrix
    size = [max(1, round(side / step)) for side in photo.shape[1::-1]]
    small = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
    shrinking = np.diag([size[0] / photo.shape[1], size[1] / photo.shape[0], 1])
    return small, shrinking @ matrix
