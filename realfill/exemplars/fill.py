"""Completing a photo with pieces of its references and of itself."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
import torch
from PIL import Image

from realfill.errors import UserError
from realfill.exemplars.copying import copy_pieces
from realfill.exemplars.layout import is_available, make_layout
from realfill.exemplars.panels import Canvas, Panel, lay_out
from realfill.exemplars.pieces import Pieces, cut_pieces
from realfill.exemplars.sources import SetUp, Source, find_sources, set_ups
from realfill.images.blend import composite, shrink_mask
from realfill.images.seams import join
from realfill.scene import Scene

MOST_AT_ONCE = 4
"""Completions made at once, if there are as many cores: each takes some 300 MB."""


@dataclass(frozen=True)
class Filling:
    """A completion, and what it is made of."""

    image: Image.Image
    sources: list[str]
    """Names of the sources that `which` refers to."""
    which: np.ndarray
    """int32 `(H, W)`: the source of each pixel; -1 outside the hole."""
    set_up: str
    misfit: float
    """How badly the pieces fit, see `misfit_of`; less is better."""


def complete_from_exemplars(
    scene: Scene, doubtful: Panel | None, indices: Sequence[int], seed: int
) -> Iterator[tuple[int, Filling]]:
    """Yield `(index, filling)` for each of `indices`, in their order.

    Filling i depends on the scene, `seed` and i alone. `doubtful` is what geometry shows of the
    hole but is not sure of. Raises `UserError` if PatchMatch does not work on this machine.
    """
    if not is_available():
        raise UserError(
            "--fill exemplar needs pypatchmatch, which does not work on this machine; install it "
            "with 'pip install pypatchmatch', or use --fill model or --fill none"
        )
    if not scene.mask.getbbox():
        nothing = np.full(scene.mask.size[::-1], -1, np.int32)
        yield from ((i, Filling(scene.target, [], nothing, "none", 0.0)) for i in indices)
        return
    sources = find_sources(scene)
    fill = partial(fill_once, scene, sources, doubtful, seed)
    workers = min(MOST_AT_ONCE, os.cpu_count() or 1, max(1, len(indices)))
    one_thread = partial(torch.set_num_threads, 1)
    with ThreadPoolExecutor(workers, initializer=one_thread) as executor:
        yield from zip(indices, executor.map(fill, indices), strict=True)


def fill_once(
    scene: Scene, sources: list[Source], doubtful: Panel | None, seed: int, index: int
) -> Filling:
    """Return the completion of this index: of its set-ups the one whose pieces fit best."""
    tried = [
        (set_up, *lay_and_cut(scene, set_up, seed + index))
        for set_up in set_ups(scene, sources, doubtful, index)
    ]
    set_up, canvas, pieces = min(tried, key=lambda each: misfit_of(each[2]))
    target, hole = np.asarray(scene.target), np.asarray(scene.mask) > 127
    picture, labels, which = copy_pieces(target, hole, canvas, pieces)
    image = Image.fromarray(join(picture, hole, labels))
    return Filling(
        composite(image, scene.target, scene.mask),
        [panel.name for panel in canvas.panels],
        which,
        set_up.name,
        misfit_of(pieces),
    )


def lay_and_cut(scene: Scene, set_up: SetUp, seed: int) -> tuple[Canvas, Pieces]:
    """Return the canvas of a set-up and the pieces that fill the hole from it."""
    canvas = lay_out(set_up.panels, set_up.megapixels)
    hole = np.asarray(shrink_mask(scene.mask, canvas.boxes[0][2:])) > 0
    require_a_source(canvas, hole, set_up.patch)
    layout = make_layout(canvas.pixels, canvas.usable, hole, set_up.patch, seed)
    return canvas, cut_pieces(canvas, hole, layout)


def require_a_source(canvas: Canvas, hole: np.ndarray, patch: int) -> None:
    """Raise `UserError` if no whole patch can be copied from anywhere."""
    usable = canvas.usable.astype(np.uint8)
    usable[: hole.shape[0], : hole.shape[1]] &= ~hole
    side = 2 * patch + 1
    if not cv2.erode(usable, np.ones((side, side)), borderValue=0).any():
        raise UserError(
            "nothing to copy from: the known part of the photo is too small and no reference shows "
            "the place; add references, or use --fill model"
        )


def misfit_of(pieces: Pieces) -> float:
    """Return a number that grows with how badly pieces fit each other and the known ring.

    The geometric mean of the two costs: they differ in size, and neither tells alone.
    """
    return float(np.sqrt(max(pieces.cost, 1e-9) * max(pieces.ring, 1e-9)))
