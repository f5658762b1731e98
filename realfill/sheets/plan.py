"""The cameras and the points of a scene, seen from above."""

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image, ImageDraw

from realfill.geometry.views import Cameras, Intrinsics
from realfill.sheets.contact import INK, MARK, font
from realfill.sheets.maps import colours

PAPER = "#22262e"
MARGIN = 0.16
"""Of the shorter side, around what is drawn."""
FARTHEST = 0.9
"""Share of the points that must be in the picture: some lie at the horizon."""
LETTERS, RADIUS = 32, 4
"""Pixels, of a picture that is shown at half its size or less."""
LENGTH = 0.1
"""Of a camera's sides, of the shorter side."""


def draw_plan(cameras: Cameras, size: tuple[int, int], span: tuple[float, float]) -> Image.Image:
    """Draw the cameras as triangles open to where they look, and the points of the scene.

    `span` are the inverse depths from the photo that are drawn blue and yellow.

    The photo's own camera is white and looks up the picture. Homographies have no place.
    """
    views = cameras.with_depth
    points = np.array(cameras.points).reshape(-1, 3)[:, [0, 2]]
    places = {name: view.center[[0, 2]] for name, view in views.items()}
    shown = [np.zeros((1, 2)), *(place[None] for place in places.values())]
    if len(points):
        shown += [np.quantile(points, [1 - FARTHEST, FARTHEST], axis=0)]
    fit = fitting(np.concatenate(shown), size)
    picture = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(picture)
    nearness = (1 / np.maximum(points[:, 1], 1e-6) - span[0]) / (span[1] - span[0])
    for place, colour in zip(fit(points), colours(nearness[None])[0].tolist(), strict=True):
        draw.circle(tuple(place), RADIUS, fill=tuple(colour))
    length = LENGTH * min(size)
    for name, view in views.items():
        directions = sides(view.reference) @ np.array(view.rotation)
        draw_camera(draw, fit(places[name]), directions, length, (MARK, name, 0))
    target = next(iter(views.values())).target
    draw_camera(draw, fit(np.zeros(2)), sides(target), length, (INK, "the photo", LETTERS))
    return picture


def fitting(shown: np.ndarray, size: tuple[int, int]) -> Callable[[np.ndarray], np.ndarray]:
    """Return what takes places `(..., 2)`, x to the right and z ahead, to pixels of a picture.

    All of `shown` `(N, 2)` comes into the picture, at one scale both ways.
    """
    least, most = shown.min(0), shown.max(0)
    room = np.array(size) - 2 * MARGIN * min(size)
    scale = (room / np.maximum(most - least, 1e-6)).min() * np.array([1, -1])
    return lambda places: (places - (least + most) / 2) * scale + np.array(size) / 2


def sides(camera: Intrinsics) -> np.ndarray:
    """Return the rays through the left and the right edge of what a camera sees, `(2, 3)`."""
    return camera.rays(torch.tensor([[0.0, 0.5], [1.0, 0.5]])).numpy()


def draw_camera(
    draw: ImageDraw.ImageDraw,
    place: np.ndarray,
    directions: np.ndarray,
    length: float,
    look: tuple[str, str, int],
) -> None:
    """Draw a triangle at `place` that opens along `directions` `(2, 3)`.

    `look` is its colour, its name, and by how many pixels that is lowered.
    """
    colour, name, lower = look
    flat = directions[:, [0, 2]] / np.linalg.norm(directions[:, [0, 2]], axis=1, keepdims=True)
    ends = place + flat * length * np.array([1, -1])
    corners = [tuple(corner) for corner in (place, *ends)]
    draw.polygon(corners, outline=colour, width=RADIUS)
    draw.text((place[0], place[1] + 8 + lower), name, colour, font(LETTERS), anchor="ma")
