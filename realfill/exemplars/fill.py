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
from realfill.exemplars.judge import HEIGHT, edge_strangeness
from realfill.exemplars.layout import is_available, make_layout
from realfill.exemplars.panels import Canvas, Panel, draw, lay_out
from realfill.exemplars.pieces import cut_pieces
from realfill.exemplars.sources import SetUp, Source, find_sources, set_ups
from realfill.images.blend import composite
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
    strangeness: float
    """How unlike the references it is across the hole's edge, see `edge_strangeness`."""


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
    whole = [source.panel("as they are", scene.target.size, 1.0) for source in sources]
    photos = [draw(panel, HEIGHT / scene.target.height)[0] for panel in whole]
    fill = partial(fill_once, scene, sources, photos, doubtful, seed)
    workers = min(MOST_AT_ONCE, os.cpu_count() or 1, max(1, len(indices)))
    one_thread = partial(torch.set_num_threads, 1)
    with ThreadPoolExecutor(workers, initializer=one_thread) as executor:
        yield from zip(indices, executor.map(fill, indices), strict=True)


def fill_once(
    scene: Scene,
    sources: list[Source],
    photos: list[np.ndarray],
    doubtful: Panel | None,
    seed: int,
    index: int,
) -> Filling:
    """Return the completion of this index: the least strange layout of its set-ups.

    `photos` are the sources as they are, small, for the judge.
    """
    tried = [
        (set_up, *lay_out_and_judge(scene, set_up, photos, seed + index))
        for set_up in set_ups(scene, sources, doubtful, index)
    ]
    set_up, canvas, layout, strangeness = min(tried, key=lambda each: each[3])
    pieces = cut_pieces(canvas, small_hole(scene, canvas), layout)
    target, hole = np.asarray(scene.target), scene.hole
    picture, labels, which = copy_pieces(target, hole, canvas, pieces)
    image = Image.fromarray(join(picture, hole, labels))
    return Filling(
        composite(image, scene.target, scene.mask),
        [panel.name for panel in canvas.panels],
        which,
        set_up.name,
        strangeness,
    )


def lay_out_and_judge(
    scene: Scene, set_up: SetUp, photos: list[np.ndarray], seed: int
) -> tuple[Canvas, np.ndarray, float]:
    """Return the canvas of a set-up, what fills the hole on it, and how strange that is."""
    canvas = lay_out(set_up.panels, set_up.megapixels)
    hole = small_hole(scene, canvas)
    require_a_source(canvas, hole, set_up.patch)
    layout = make_layout(canvas.pixels, canvas.usable, hole, set_up.patch, seed)
    joined = join(layout, hole, np.zeros(hole.shape, np.int32))
    return canvas, layout, edge_strangeness(joined, hole, photos)


def small_hole(scene: Scene, canvas: Canvas) -> np.ndarray:
    """Return the hole at the canvas's scale, bool `(h, w)`."""
    return scene.hole_at(canvas.boxes[0][2:])


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
