"""What new views are learned from: pairs of photos whose cameras are known."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from realfill.canvas.poses import Pose, pose, pose_between, rotation
from realfill.canvas.shapes import CORNERS, cut
from realfill.canvas.task_photos import find_photos, normal, pixels
from realfill.errors import UserError
from realfill.geometry.findings import views_with_depth
from realfill.geometry.hypotheses import guess_intrinsics
from realfill.geometry.views import View
from realfill.scene import load_scene
from realfill.training.crops import Batch

SIDE = 0.6
"""Of a view's window, of the photo's short side, if a photo is seen twice."""
AZIMUTH, ELEVATION = np.radians(30), np.radians(15)
"""The largest turn; a narrow photo allows less."""


@dataclass(frozen=True)
class ViewPhotos:
    """Places to draw two views of: photos with cameras, or one that a turning camera sees twice."""

    places: Sequence[Sequence[tuple[Path, View | None]]]
    device: torch.device

    def digest(self) -> str:
        """Return a hash of the names and sizes of all photos, and of their views."""
        said = "\n".join(
            f"{path.parent.name}/{path.name} {path.stat().st_size} {view}"
            for place in self.places
            for path, view in place
        )
        return hashlib.sha256(said.encode()).hexdigest()

    def draw(self, count: int, size: int, generator: torch.Generator) -> Batch:
        """Draw `count` canvases of the height `size`: all of the right is to be filled."""
        random = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))
        images, poses = zip(*(self.draw_one(size, random) for _ in range(count)), strict=True)
        masks = torch.zeros(count, 1, size, 2 * size)
        masks[..., size:] = 1
        images, masks = torch.stack(images).to(self.device), masks.to(self.device)
        told = torch.tensor(poses, dtype=torch.float32, device=self.device)
        return Batch(images, masks, torch.zeros_like(masks), poses=told)

    def draw_one(self, size: int, random: np.random.Generator) -> tuple[torch.Tensor, Pose]:
        """Draw a canvas `(3, size, 2 * size)` in [-1, 1] and the pose of its right view."""
        place = self.places[int(random.integers(len(self.places)))]
        if len(place) > 1:
            chosen = random.permutation(len(place))[:2].tolist()
            (first, here), (second, there) = (place[k] for k in chosen)
            assert here is not None  # several photos come with views
            views = [middle(pixels(path), size) for path in (first, second)]
            told = pose_between(here, there)
        else:
            views, told = turn(pixels(place[0][0]), size, random)
        return normal(np.concatenate(views, 1)), told


def middle(photo: np.ndarray, size: int) -> np.ndarray:
    """Return the square in the middle of a photo, uint8 `(H, W, 3)`, resized to `size` pixels."""
    sides = np.array(photo.shape[1::-1])
    return cut(photo, sides / 2 + min(sides) * CORNERS, size)


def turn(
    photo: np.ndarray, size: int, random: np.random.Generator
) -> tuple[list[np.ndarray], Pose]:
    """Return two views of a photo, uint8 squares of `size` pixels, and the second one's pose.

    The camera turns before the photo, which is no more than a homography, so that there is no
    parallax; the focal length is guessed from the photo's size.
    """
    sides = np.array(photo.shape[1::-1])
    window = sides / 2 + SIDE * min(sides) * CORNERS
    focal = guess_intrinsics((int(sides[0]), int(sides[1]))).focal
    camera = np.array([[focal, 0, sides[0] / 2], [0, focal, sides[1] / 2], [0, 0, 1]])
    angles = random.uniform(-1, 1, 2) * (AZIMUTH, ELEVATION)
    while True:
        back = camera @ rotation(*angles).T @ np.linalg.inv(camera)
        seen = cv2.perspectiveTransform(window[None], back)[0]
        if (seen >= 0).all() and (seen <= sides).all():
            break
        angles *= 0.8
    return [cut(photo, window, size), cut(photo, seen, size)], pose(*angles)


def find_views(folder: Path, device: torch.device) -> ViewPhotos:
    """Find what `folder` has to learn views from: scene folders with cameras, or photos.

    Raises `UserError`.
    """
    groups = find_photos(folder, "view", None, device).groups
    if groups[0][0].parent == folder:
        return ViewPhotos([[(path, None)] for [path] in groups], device)
    places = [views_of(path.parent.parent, device) for path, *_ in groups]
    places = [place for place in places if len(place) > 1]
    if not places:
        raise UserError(
            f"{folder}: no scene in it has two references whose cameras are found; give scenes "
            "with parallax, or a folder of photos"
        )
    return ViewPhotos(places, device)


def views_of(folder: Path, device: torch.device) -> list[tuple[Path, View]]:
    """Return the references of a scene whose cameras are found, with their views."""
    views = views_with_depth(load_scene(folder), device)
    return [(folder / "ref" / name, view) for name, view in views.items()]
