"""Relative inverse depths of one photo, brought to the scene's unit by a scale and a shift."""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from realfill.geometry.features import work_image
from realfill.geometry.views import View
from realfill.geometry.votes import sample
from realfill.scene import Scene

Shapes = Callable[[str], Tensor]
"""Gives a reference's relative inverse depth `(h, w)`, by its name, as a depth model has it."""

FEWEST_POINTS = 15
FLAT = 1e-6
"""Difference over the largest value, under which all values are one."""
MOST = 0.8
"""Share of the points that the shape must fit."""
MISFIT = 0.5
"""Their error over that of one depth for all, from which the shape is not believed."""


class DepthModel(NamedTuple):
    """What sees depth in one photo; `load_depth_model` returns its parts."""

    estimate: Callable[[Image.Image], Tensor]
    """The relative inverse depth `(H, W)` of a photo."""
    identity: str
    """A hash that tells models apart."""

    def shapes(self, scene: Scene) -> Shapes:
        """Return what gives the shapes of the scene's references, each computed once."""
        return cache(lambda name: self.estimate(work_image(scene.references[name])))


def align(relative: Tensor, view: View, points: np.ndarray) -> Tensor | None:
    """Return the inverse depth `(h, w)` of the reference that `view` is of, or None.

    `relative` `(h, w)` is right up to a scale and a shift, which the scene's `points` `(N, 3)`, in
    the target's frame, decide on. None if they are too few, or contradict the shape.
    """
    turned = points @ np.array(view.rotation).T + np.array(view.translation)
    turned = turned[turned[:, 2] > 1e-3]
    places = view.reference.project(torch.from_numpy(turned).to(relative))
    values, inside = sample(relative[None], places[None, None])
    there = inside.flatten() > 0
    found = values.flatten()[there].double().cpu().numpy()
    true = 1 / turned[there.cpu().numpy(), 2]
    if len(true) < FEWEST_POINTS:
        return None
    if not np.ptp(found) > FLAT * np.abs(found).max():  # also if the model gives no numbers
        return None
    scale, shift = fit_line(found, true)
    error = np.quantile(np.abs(scale * found + shift - true), MOST)
    rival = np.quantile(np.abs(true - np.median(true)), MOST)
    if not (scale > 0 and error < MISFIT * rival):
        return None
    return (scale * relative + shift).clamp_min(0)


def fit_line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Return slope and offset of the line with the least absolute error, by reweighting.

    A few wrong points count little, and most of them may lie at one depth, as on a wall.
    """
    weights = np.ones_like(x)
    for _ in range(50):
        slope, shift = np.polyfit(x, y, 1, w=weights**0.5)
        errors = np.abs(slope * x + shift - y)
        weights = 1 / errors.clip(max(1e-3 * errors.mean(), 1e-9))
    return float(slope), float(shift)
