"""Copying pieces from the photos at their full size."""

import cv2
import numpy as np

from realfill.exemplars.panels import Canvas, shrink
from realfill.exemplars.pieces import Pieces

EDGE = 3
"""Pixels of the layout by which pieces are continued beyond the hole, so that they cover it."""
ROWS = 512
"""Rows of the target that are copied at once: bounds the memory."""


def copy_pieces(
    target: np.ndarray, hole: np.ndarray, canvas: Canvas, pieces: Pieces
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Copy the pieces into `hole` (bool `(H, W)`) of `target` (uint8 `(H, W, 3)`).

    Returns the picture, and each pixel's label and panel, int32 `(H, W)`, -1 outside the hole.
    """
    grown = grow(pieces.labels)
    size = hole.shape[::-1]
    labels = cv2.resize(grown, size, interpolation=cv2.INTER_NEAREST_EXACT)
    which = cv2.resize(
        panels_of(grown, canvas, pieces), size, interpolation=cv2.INTER_NEAREST_EXACT
    )
    labels, which = (np.where(hole, part, -1) for part in (labels, which))
    step = np.array([grown.shape[1] / size[0], grown.shape[0] / size[1]])
    picture = target.copy()
    for index in np.unique(which[hole]):
        photo, to_photo = shrink(canvas.panels[index].photo, canvas.panels[index].to_photo)
        corner, scale = place(canvas, index)
        for top in range(0, len(hole), ROWS):
            y, x = np.nonzero(which[top : top + ROWS] == index)
            if not len(y):
                continue
            places = np.stack([x, y + top], 1)
            on_canvas = (places + 0.5) * step + pieces.offsets[labels[y + top, x]][:, ::-1]
            there = np.c_[(on_canvas - corner) * scale, np.ones(len(places))] @ to_photo.T
            copied = sample(photo, there[:, :2] / there[:, 2:] - 0.5)
            picture[y + top, x] = canvas.panels[index].toned(copied[None])[0]
    return picture, labels, which


def place(canvas: Canvas, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the corner of a panel on the canvas, and its own pixels to one of the canvas."""
    left, top, width, height = canvas.boxes[index]
    own_width, own_height = canvas.panels[index].size
    return np.array([left, top]), np.array([own_width / width, own_height / height])


def grow(labels: np.ndarray) -> np.ndarray:
    """Return the labels, int32 `(h, w)`, continued a little beyond the hole."""
    for _ in range(EDGE):
        around = cv2.dilate((labels + 1).astype(np.float32), np.ones((3, 3))).astype(np.int32) - 1
        labels = np.where(labels < 0, around, labels)
    return labels


def panels_of(labels: np.ndarray, canvas: Canvas, pieces: Pieces) -> np.ndarray:
    """Return which panel each pixel with a label is copied from, int32 `(h, w)`."""
    y, x = np.indices(labels.shape) + pieces.offsets[labels].transpose(2, 0, 1)
    panels = np.zeros(labels.shape, np.int32)
    for index, (left, top, _, _) in enumerate(canvas.boxes):
        panels[(x >= left) & (y >= top)] = index
    return panels


def sample(photo: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Sample uint8 `(H, W, 3)` at `(N, 2)` x, y; the first pixel's centre is at (0, 0)."""
    width = 4096  # OpenCV takes a picture of places, of no side over 32,767
    rows = -(-len(places) // width)
    grid = np.zeros((rows * width, 2), np.float32)
    grid[: len(places)] = places
    sampled = cv2.remap(
        photo,
        grid.reshape(rows, width, 2),
        np.empty(0, np.float32),  # the grid has both coordinates
        cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REFLECT,
    )
    return sampled.reshape(-1, 3)[: len(places)]
