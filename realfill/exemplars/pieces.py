"""Pieces: which source each pixel of the hole is copied from, so that the pieces are few and large.

The layout gives colours and no sources. So its patches are looked up among the sources; the
offsets that come up most often become labels (He and Sun, 2012); and each pixel gets the label
whose surroundings look most like the layout's, with a price on every change of label.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from realfill.exemplars.panels import Canvas
from realfill.exemplars.patches import describe, nearest
from realfill.images.seams import box_around
from realfill.images.tensors import to_tensor
from realfill.provenance import GEOMETRY

CELLS = 3
"""Squares that describe a patch, each way; see `describe`."""
RADIUS = 4
"""Of the surroundings that are compared, in pixels of the layout."""
MOST_LOOKED_UP = 2000
"""Patches of the layout that are looked up."""
LABELS = 128
"""Offsets that compete."""
MOST_ERROR = 0.04
"""Squared colour difference, of 1, beyond which a pixel counts no worse."""
CHANGE = 0.012
"""Price of a change of label between neighbours, in squared colour differences."""
EXPECTED = 0.03
"""What is taken off the cost of a piece that geometry shows right there, if doubtfully."""
FORBIDDEN = 1.0
"""Cost of a label that leads to where nothing may be copied."""


@dataclass(frozen=True)
class Pieces:
    """The sources of the hole's pixels."""

    labels: np.ndarray
    """int32 `(h, w)`, at the layout's scale; -1 outside the hole."""
    offsets: np.ndarray
    """int `(K, 2)`: y, x from a pixel with this label to its source on the canvas."""


def cut_pieces(canvas: Canvas, hole: np.ndarray, layout: np.ndarray) -> Pieces:
    """Return the pieces of the canvas that make up `layout`; see `make_layout`."""
    height, width = hole.shape
    pixels = to_tensor(canvas.pixels)
    pixels[:, :height, :width] = to_tensor(layout)
    usable = canvas.usable.copy()
    usable[:height, :width] &= ~hole
    expected = expected_offset(canvas)
    offsets = torch.cat([expected, common_offsets(pixels, usable, hole)])
    box = even_box(hole)
    costs = label_costs(pixels, torch.from_numpy(usable), box, offsets)
    costs[: len(expected)] -= EXPECTED * (costs[: len(expected)] < FORBIDDEN)
    inner = F.max_pool2d(torch.from_numpy(hole)[box][None].float(), 2)[0] > 0
    settled = settle(torch.where(inner, costs, 0.0))
    labels = np.full(hole.shape, -1, np.int32)
    labels[box] = settled.repeat_interleave(2, 0).repeat_interleave(2, 1).numpy()
    labels[~hole] = -1
    return Pieces(labels, offsets.numpy())


def expected_offset(canvas: Canvas) -> Tensor:
    """Return the offset to where geometry shows the same place, `(1, 2)`; `(0, 2)` if nowhere."""
    scale = canvas.boxes[0][2] / canvas.panels[0].size[0]
    for panel, (left, top, *_) in zip(canvas.panels, canvas.boxes, strict=True):
        if panel.name == GEOMETRY:
            x, y = panel.to_photo[:2, 2] * scale
            return torch.tensor([[round(top - y), round(left - x)]])
    return torch.empty((0, 2), dtype=torch.int64)


def even_box(hole: np.ndarray) -> tuple[slice, slice]:
    """Return the box around the hole and its surroundings, with sides of even length."""
    rows, columns = (
        slice(part.start, part.stop - (part.stop - part.start) % 2)
        for part in box_around(hole, 2 * RADIUS + 1)
    )
    return rows, columns


def common_offsets(pixels: Tensor, usable: np.ndarray, hole: np.ndarray) -> Tensor:
    """Return the offsets `(K, 2)` that the hole's patches most often have to their likest source.

    `pixels` is the canvas with the layout in it, `(3, H, W)` in [0, 1]; `usable` is bool `(H, W)`.
    """
    whole = cv2.erode(usable.astype(np.uint8), np.ones((2 * RADIUS + 1,) * 2))
    sources = torch.from_numpy(whole if whole.any() else usable).nonzero()
    places = torch.from_numpy(hole).nonzero()
    places = places[:: max(1, len(places) // MOST_LOOKED_UP)]
    described = describe(pixels, CELLS)
    wanted = described[:, places[:, 0], places[:, 1]].T
    every_other = sources[(sources % 2 == 0).all(1)] if len(sources) > 1000 else sources
    candidates = described[:, every_other[:, 0], every_other[:, 1]]
    which = nearest(wanted, candidates)[1]
    found = nudge(described, usable, wanted, every_other[which])
    offsets, counts = (found - places).unique(dim=0, return_counts=True)
    return offsets[counts.argsort(descending=True, stable=True)[:LABELS]]


def nudge(described: Tensor, usable: np.ndarray, wanted: Tensor, found: Tensor) -> Tensor:
    """Return the sources `found`, `(N, 2)`, moved by a pixel if that is nearer to `(N, 27)`."""
    limits = torch.tensor(usable.shape) - 1
    allowed = torch.from_numpy(usable)
    near = torch.stack([found + torch.tensor([y, x]) for y in (0, -1, 1) for x in (0, -1, 1)])
    near = torch.minimum(near.clamp_min(0), limits)
    distances = (described[:, near[..., 0], near[..., 1]].permute(1, 2, 0) - wanted).square().sum(2)
    distances[~allowed[near[..., 0], near[..., 1]]] = torch.inf
    return near[distances.argmin(0), torch.arange(len(found))]


def label_costs(
    pixels: Tensor, usable: Tensor, box: tuple[slice, slice], offsets: Tensor
) -> Tensor:
    """Return the cost of each label in the `box` at half the size, `(K, h / 2, w / 2)`."""
    height, width = usable.shape
    here = pixels[(slice(None), *box)]
    costs = []
    for y, x in offsets.tolist():
        # The part of the box whose source is on the canvas.
        top, left = max(0, -y - box[0].start), max(0, -x - box[1].start)
        bottom = min(here.shape[1], height - y - box[0].start)
        right = min(here.shape[2], width - x - box[1].start)
        rows = slice(box[0].start + y + top, box[0].start + y + bottom)
        columns = slice(box[1].start + x + left, box[1].start + x + right)
        error = torch.full(here.shape[1:], MOST_ERROR)
        there = torch.zeros(here.shape[1:])
        part = (slice(top, bottom), slice(left, right))
        there[part] = usable[rows, columns].float()
        difference = (pixels[:, rows, columns] - here[(slice(None), *part)]).square_().mean(0)
        error[part] = torch.where(there[part] > 0, difference, MOST_ERROR).clamp_max_(MOST_ERROR)
        half = F.avg_pool2d(torch.stack([error, there])[:, None], 2)
        mean = F.avg_pool2d(half[:1], RADIUS + 1, 1, RADIUS // 2, count_include_pad=False)
        costs.append(torch.where(half[1, 0] > 0.99, mean[0, 0], FORBIDDEN))
    return torch.stack(costs)


def settle(costs: Tensor) -> Tensor:
    """Return the labels `(h, w)` for costs `(K, h, w)`, with a price on every change of label.

    Semi-global matching (Hirschmüller, 2008), for labels without an order: the cheapest ways that
    end in each label are added up along four directions.
    """
    total = torch.zeros_like(costs)
    for axis, reverse in ((1, False), (1, True), (2, False), (2, True)):
        lines = costs.movedim(axis, 0)
        if reverse:
            lines = lines.flip(0)
        paths = torch.empty_like(lines)
        path = paths[0] = lines[0]
        for row in range(1, len(lines)):
            best = path.amin(0, keepdim=True)
            path = lines[row] + (path - best).clamp_max(CHANGE)
            paths[row] = path
        total += (paths.flip(0) if reverse else paths).movedim(0, axis)
    return total.argmin(0)
