"""Finding the views: structure from motion, else planes, else the epipolar geometry of two."""

import importlib.util
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from realfill.blending import feather, resize
from realfill.epipolar import fundamental_matrix
from realfill.geometry.sweep import SMALLEST_BASELINE
from realfill.geometry.views import Intrinsics, View, view_by_homography
from realfill.matchers.sift import Sift
from realfill.ranking import inside

LONG_SIDE = 768
"""Pixels of the longer side at which features are found and depth is swept."""
MINIMUM_MATCHES = 30
"""Correspondences that agree, below which a reference is not believed to show the place."""
MOST_VIEWS = 6
"""References that are looked at: the sweep compares each with each."""
PLANE_SHARE = 0.6
"""Share of the epipolar inliers that a homography must explain for the scene to pass as a plane."""
FOCAL_GUESS = 1.2
"""Focal length over the longer side where nothing tells it (COLMAP's guess)."""


@dataclass(frozen=True)
class Cameras:
    """The views of a scene by reference name, and the largest inverse depth that was seen."""

    method: str
    views: dict[str, View]
    largest_inverse_depth: float

    @property
    def have_parallax(self) -> bool:
        """Say whether any reference stands far enough from the target to tell depths."""
        centers = [np.linalg.norm(view.center) for view in self.views.values()]
        return max(centers, default=0) * self.largest_inverse_depth > SMALLEST_BASELINE


def find_cameras(
    target: Image.Image, mask: Image.Image, references: dict[str, Image.Image]
) -> Cameras:
    """Return the views of the references that can be tied to the target's known pixels.

    Structure from motion is tried first where there are two references or more and pycolmap is
    installed. Where it fails, references whose matches a homography explains get that; a single
    reference with parallax gets the essential matrix. At most six views are kept, the nearest.
    """
    references = without_copies(target, mask, references)
    if len(references) > 1 and importlib.util.find_spec("pycolmap"):
        cameras = map_scene(target, mask, references)
        if cameras is not None:
            return nearest_views(cameras)
    views: dict[str, View] = {}
    for name, reference in references.items():
        pairs = match(target, mask, reference)
        view = plane_view(pairs, target.size, reference.size)
        if view is not None:
            views[name] = view
        elif len(references) == 1:
            cameras = two_view_cameras(name, pairs, target.size, reference.size)
            if cameras is not None:
                return cameras
    return nearest_views(Cameras("homographies" if views else "nothing", views, 0.0))


def without_copies(
    target: Image.Image, mask: Image.Image, references: dict[str, Image.Image]
) -> dict[str, Image.Image]:
    """Return the references without copies of each other, which would confirm each other.

    Nor with the target photo itself, whose hole holds what is to go, nor its completions.
    """
    unique = {photo.tobytes(): name for name, photo in reversed(references.items())}
    known = feather(mask).point(lambda value: 0 if value else 255)
    black = Image.new("RGB", target.size)
    seen = Image.composite(target, black, known)
    return {
        name: photo
        for name, photo in references.items()
        if name in unique.values()
        and (photo.size != target.size or Image.composite(photo, black, known) != seen)
    }


def nearest_views(cameras: Cameras) -> Cameras:
    """Return the cameras with the views that are nearest to the target, in their old order."""
    distances = {name: np.linalg.norm(view.center) for name, view in cameras.views.items()}
    kept = sorted(distances, key=distances.get)[:MOST_VIEWS]
    views = {name: view for name, view in cameras.views.items() if name in kept}
    return replace(cameras, views=views)


def work_image(photo: Image.Image) -> Image.Image:
    """Return the photo with a long side of 768 px at most."""
    return resize(photo, work_size(photo.size))


def work_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return the width and height with a long side of 768 px at most."""
    scale = min(1.0, LONG_SIDE / max(size))
    width, height = (max(1, round(side * scale)) for side in size)
    return width, height


def map_scene(
    target: Image.Image, mask: Image.Image, references: dict[str, Image.Image]
) -> Cameras | None:
    """Run structure from motion; None where the target was not registered with a reference."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "images").mkdir()
        (folder / "masks").mkdir()
        photos = {"target.jpg": target}
        photos |= {f"{i}.jpg": photo for i, photo in enumerate(references.values())}
        for name, photo in photos.items():
            exif = photo.getexif()
            photo = work_image(photo)
            photo.save(folder / "images" / name, quality=98, exif=exif)
            looked_at = Image.new("L", photo.size, 255)
            if name == "target.jpg":
                looked_at = mask.resize(photo.size, Image.Resampling.BOX).point(
                    lambda value: 0 if value else 255
                )
            looked_at.save(folder / "masks" / f"{name}.png")
        done = subprocess.run(
            [sys.executable, "-m", "realfill.geometry.structure_from_motion", str(folder)],
            capture_output=True,
            check=False,
        )
        if done.returncode:
            return None
        models = json.loads((folder / "models.json").read_text("utf-8"))
    models = [model for model in models if "target.jpg" in model and len(model) > 1]
    if not models:
        return None
    return cameras_of_model(max(models, key=len), photos, list(references))


def cameras_of_model(
    model: dict, photos: dict[str, Image.Image], names: list[str]
) -> Cameras | None:
    """Turn one model of `structure_from_motion` into views from the target."""

    def intrinsics(name: str) -> Intrinsics:
        camera, size = model[name], work_image(photos[name]).size
        return Intrinsics(size, camera["focal"], tuple(camera["center"]), camera["radial"])

    depths = model["target.jpg"]["depths"]
    if len(depths) < MINIMUM_MATCHES:
        return None
    turn = np.array(model["target.jpg"]["rotation"])
    shift = np.array(model["target.jpg"]["translation"])
    unit = float(np.median(depths))
    views = {}
    for index, name in enumerate(names):
        camera = model.get(f"{index}.jpg")
        if camera is None or len(camera["depths"]) < MINIMUM_MATCHES:
            continue
        rotation = np.array(camera["rotation"]) @ turn.T
        translation = (np.array(camera["translation"]) - rotation @ shift) / unit
        views[name] = View(
            intrinsics("target.jpg"),
            intrinsics(f"{index}.jpg"),
            tuple(map(tuple, rotation.tolist())),
            tuple(translation.tolist()),
        )
    nearest = float(np.quantile(depths, 0.01)) / unit
    return Cameras("structure from motion", views, 1.3 / nearest) if views else None


def match(target: Image.Image, mask: Image.Image, reference: Image.Image) -> np.ndarray:
    """Return `(N, 4)` corresponding points of the known target and a reference, in [0, 1]."""
    matcher = Sift()
    small = [work_image(photo) for photo in (target, reference)]
    matches = matcher.match(matcher.extract(small[0]), [matcher.extract(small[1])])[0]
    matches = matches.chosen(matches.confidence > matcher.default_threshold)
    hole = np.asarray(mask.resize(small[0].size, Image.Resampling.BOX)) > 0
    matches = matches.chosen(~inside(matches.points, hole))
    here = (matches.points + 0.5) / small[0].size
    there = (matches.reference_points + 0.5) / small[1].size
    return np.hstack([here, there]).astype(np.float64)


def plane_view(
    pairs: np.ndarray, target_size: tuple[int, int], reference_size: tuple[int, int]
) -> View | None:
    """Return the view by the homography that explains `pairs`, or None where none does."""
    if len(pairs) < MINIMUM_MATCHES:
        return None
    sizes = work_size(target_size), work_size(reference_size)
    here, there = pairs[:, :2] * sizes[0], pairs[:, 2:] * sizes[1]
    matrix, agrees = cv2.findHomography(here, there, cv2.USAC_MAGSAC, 2.0, maxIters=10000)
    if matrix is None or agrees.sum() < MINIMUM_MATCHES:
        return None
    _, agrees_in_depth = fundamental_matrix(here, there)
    if agrees.sum() < PLANE_SHARE * agrees_in_depth.sum():
        return None
    return view_by_homography(matrix, *sizes)


def two_view_cameras(
    name: str, pairs: np.ndarray, target_size: tuple[int, int], reference_size: tuple[int, int]
) -> Cameras | None:
    """Return the view of the only reference by the essential matrix, with a guessed focal length.

    A wrong focal length bends the depths that are found, not where they project to.
    """
    if len(pairs) < MINIMUM_MATCHES:
        return None
    cameras, points = [], []
    for size, part in ((target_size, pairs[:, :2]), (reference_size, pairs[:, 2:])):
        whole = work_size(size)
        camera = Intrinsics(whole, FOCAL_GUESS * max(whole), (whole[0] / 2, whole[1] / 2))
        cameras.append(camera)
        points.append((part * whole - camera.center) / camera.focal)
    threshold = 1.5 / cameras[0].focal
    essential, agrees = cv2.findEssentialMat(
        *points, np.eye(3), method=cv2.USAC_MAGSAC, prob=0.9999, threshold=threshold
    )
    if essential is None or essential.shape != (3, 3) or agrees.sum() < MINIMUM_MATCHES:
        return None
    _, rotation, translation, _, triangulated = cv2.recoverPose(
        essential, *points, np.eye(3), distanceThresh=1e6, mask=agrees
    )
    depths = triangulated[2] / triangulated[3]
    depths = depths[(agrees.ravel() > 0) & (depths > 0)]
    if len(depths) < MINIMUM_MATCHES:
        return None
    unit = float(np.median(depths))
    view = View(
        *cameras,
        tuple(map(tuple, rotation.tolist())),
        tuple((translation.ravel() / unit).tolist()),
    )
    nearest = float(np.quantile(depths, 0.01)) / unit
    return Cameras("essential matrix", {name: view}, 1.3 / nearest)
