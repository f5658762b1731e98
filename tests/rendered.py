"""A rendered scene whose cameras and depths are known."""

import cv2
import numpy as np
from PIL import Image

from realfill.geometry.prefill import Prefill
from realfill.geometry.views import Cameras, Intrinsics, View
from realfill.scene import Scene
from tests.helpers import draw_texture

SIZE = (384, 288)
FOCAL = 400.0
TURNS = {"left": (-0.06, (0.5, 0.0, 0.0)), "right": (0.06, (-0.5, 0.03, 0.05))}
TURNS |= {"up": (0.0, (0.1, 0.4, 0.0)), "near": (0.02, (-0.2, -0.1, 0.0))}


def rays(angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the rotation about the vertical of a camera and its pixels' rays, `(H, W, 3)`."""
    turn = cv2.Rodrigues(np.array([0.0, angle, 0.0]))[0]
    x, y = np.meshgrid(np.arange(SIZE[0]) + 0.5, np.arange(SIZE[1]) + 0.5)
    flat = np.stack([(x - SIZE[0] / 2) / FOCAL, (y - SIZE[1] / 2) / FOCAL, np.ones_like(x)], -1)
    return turn, flat


def photograph(angle: float, translation: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Render a wall at depth 4 and a board before it at depth 3: photo in [0, 1], and depth."""
    turn, directions = rays(angle)
    position = -turn.T @ np.array(translation)
    directions = directions @ turn
    photo, depth = np.zeros((*SIZE[::-1], 3)), np.zeros(SIZE[::-1])
    for plane, seed, bounds in ((4.0, 1, None), (3.0, 2, (0.1, 1.1, -0.9, 0.5))):
        distance = (plane - position[2]) / directions[..., 2]
        place = position + distance[..., None] * directions
        u, v = ((place[..., axis] + (3.0, 2.25)[axis]) * 200 for axis in (0, 1))
        colour = cv2.remap(draw_texture(seed), *(m.astype(np.float32) for m in (u, v)), 1)
        inside = np.ones_like(depth, bool)
        if bounds is not None:
            left, right, top, bottom = bounds
            inside = (place[..., 0] > left) & (place[..., 0] < right)
            inside &= (place[..., 1] > top) & (place[..., 1] < bottom)
        photo[inside], depth[inside] = colour[inside], plane
    return photo, depth


def render_scene() -> tuple[Scene, Cameras, Image.Image, np.ndarray]:
    """Return a scene, its true cameras, the truth, and the target's depth."""
    truth, depth = photograph(0.0, (0.0, 0.0, 0.0))
    mask = Image.new("L", SIZE)
    mask.paste(255, (140, 90, 260, 200))
    references, views = {}, {}
    pinhole = Intrinsics(SIZE, FOCAL, (SIZE[0] / 2, SIZE[1] / 2))
    for index, (name, (angle, translation)) in enumerate(TURNS.items()):
        photo, _ = photograph(angle, translation)
        gains = np.array([0.8, 0.9, 0.85]) if index % 2 else np.array([1.0, 0.95, 0.9])
        references[name] = to_image(photo * gains)
        turn = tuple(map(tuple, rays(angle)[0].tolist()))
        views[name] = View(pinhole, pinhole, turn, translation)
    target = Image.composite(Image.new("RGB", SIZE), to_image(truth), mask)
    cameras = Cameras("known", views, 0.5)
    return Scene("planes", references, target, mask), cameras, to_image(truth), depth


def psnr_of(prefill: Prefill, truth: Image.Image, hole: np.ndarray) -> float:
    errors = (np.asarray(prefill.image) - np.asarray(truth).astype(float))[hole] / 255
    return -10 * np.log10(np.square(errors).mean())


def to_image(photo: np.ndarray) -> Image.Image:
    return Image.fromarray((photo * 255).round().astype(np.uint8))


def hole_of(scene: Scene) -> np.ndarray:
    return np.asarray(scene.mask) > 127


def variant(scene: Scene, **references: Image.Image) -> Scene:
    return Scene(scene.name, references, scene.target, scene.mask)


def foreign_photo() -> Image.Image:
    return to_image(draw_texture(7)[:288, :384])
