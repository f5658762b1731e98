"""Guesses at the cameras: structure from motion in several ways, planes, the two-view geometry."""

import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from PIL.ExifTags import IFD, Base

from realfill.errors import UserError
from realfill.geometry.features import Correspondences, work_image
from realfill.geometry.views import Cameras, Intrinsics, View, view_by_homography
from realfill.matching.epipolar import fundamental_matrix

MINIMUM_MATCHES = 15
"""Correspondences that agree, below which a reference is not believed to show the place."""
FOCAL_GUESS = 1.2
"""Focal length over the longer side where nothing tells it (COLMAP's guess)."""
NEAR = (0.0, 1.0, 2.0, 4.0)
"""Pixels from a plane within which matches decide on its homography; 0 leaves it to MAGSAC."""
WORKER = Path(__file__).with_name("structure_from_motion.py")


def hypotheses(
    found: Correspondences, target: Image.Image, references: dict[str, Image.Image]
) -> Iterator[Cameras]:
    """Yield guesses at the cameras, the quickest first; each ties a reference or more.

    Photo 0 of `found` is the target, the others are the references in their order.
    """
    names = list(references)
    fits = {near: plane_views(found, names, near) for near in NEAR}
    planes = fits[NEAR[0]]
    for views in fits.values():
        if views:
            yield Cameras("homographies", views, 0.0)
    tied = [
        fundamental_matrix(*found.places(0, index))[1].sum() for index in range(1, len(names) + 1)
    ]
    if max(tied) < MINIMUM_MATCHES:
        return
    if len(names) > 1 and importlib.util.find_spec("pycolmap"):
        for way, models in map_photos(found, [target, *references.values()]).items():
            of_target = [model for model in models if "0" in model and len(model) > 1]
            if not of_target:
                continue
            cameras = cameras_of_model(max(of_target, key=len), found, names)
            if cameras is None:
                continue
            cameras = replace(cameras, method=f"structure from motion, {way}")
            yield cameras
            left_out = {name: view for name, view in planes.items() if name not in cameras.views}
            if left_out:
                method = f"{cameras.method}, and {len(left_out)} by homographies"
                yield replace(cameras, method=method, views=cameras.views | left_out)
    alone = [
        cameras
        for index, name in enumerate(names, 1)
        if (cameras := two_view_cameras(name, found, index)) is not None
    ]
    yield from sorted(alone, key=lambda cameras: -len(cameras.points))[:2]


def camera_group(photo: Image.Image) -> tuple:
    """Return what photos of one camera have in common."""
    exif = photo.getexif()
    details = exif.get_ifd(IFD.Exif)
    said = exif.get(Base.Make), exif.get(Base.Model), details.get(Base.FocalLength)
    return photo.size, *map(str, said)


def map_photos(found: Correspondences, photos: list[Image.Image]) -> dict[str, list[dict]]:
    """Run structure from motion in a process of its own; return the models by way of mapping.

    Raises `UserError` if it crashes, which must not pass for a scene that cannot be mapped.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        groups: dict[tuple, int] = {}
        for index, photo in enumerate(photos):
            group = groups.setdefault(camera_group(photo), len(groups))
            path = folder / "images" / str(group) / f"{index}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            work_image(photo).save(path, exif=photo.getexif())
        arrays = {f"points_{index}": points for index, points in enumerate(found.points)}
        arrays |= {f"matches_{a}_{b}": pairs for (a, b), pairs in found.pairs.items()}
        np.savez(folder / "matches.npz", allow_pickle=False, **arrays)
        command = [sys.executable, "-I", str(WORKER), str(folder)]
        done = subprocess.run(command, capture_output=True, check=False, text=True)
        if done.returncode:
            said = done.stderr.strip().split("\n")[-1]
            raise UserError(
                f"structure from motion crashed ({done.returncode}): {said}; "
                "reinstall pycolmap, or use --geometry off"
            )
        return json.loads((folder / "models.json").read_text("utf-8"))


def cameras_of_model(model: dict, found: Correspondences, names: list[str]) -> Cameras | None:
    """Turn one model of `structure_from_motion` into views from the target, if it ties any."""

    def intrinsics(index: int) -> Intrinsics:
        camera = model[str(index)]
        size = found.sizes[index]
        return Intrinsics(size, camera["focal"], tuple(camera["center"]), camera["radial"])

    turn, shift = (np.array(model["0"][part]) for part in ("rotation", "translation"))
    points = [np.array(photo["points"]).reshape(-1, 3) for photo in model.values()]
    everything = np.unique(np.concatenate(points), axis=0)
    everything = everything @ turn.T + shift
    depths = (np.array(model["0"]["points"]).reshape(-1, 3) @ turn.T + shift)[:, 2]
    if len(depths) < MINIMUM_MATCHES or np.median(depths) <= 0:
        return None
    unit = float(np.median(depths))
    views = {}
    for index, name in enumerate(names, 1):
        camera = model.get(str(index))
        if camera is None or len(camera["points"]) < MINIMUM_MATCHES:
            continue
        rotation = np.array(camera["rotation"]) @ turn.T
        translation = (np.array(camera["translation"]) - rotation @ shift) / unit
        views[name] = View(
            intrinsics(0),
            intrinsics(index),
            tuple(map(tuple, rotation.tolist())),
            tuple(translation.tolist()),
        )
    nearest = float(np.quantile(depths, 0.01)) / unit
    points = tuple(map(tuple, (everything / unit).tolist()))
    return Cameras("", views, 1.3 / nearest, points) if views else None


def plane_views(found: Correspondences, names: list[str], near: float) -> dict[str, View]:
    """Return the views of the references that a homography explains, fitted to what is `near`."""
    views = {name: plane_view(found, index, near) for index, name in enumerate(names, 1)}
    return {name: view for name, view in views.items() if view is not None}


def plane_view(found: Correspondences, index: int, near: float) -> View | None:
    """Return the view of photo `index` by the homography that explains most, or None.

    MAGSAC finds it; then it is fitted by least squares to the matches within `near` pixels.
    """
    here, there = found.places(0, index)
    if len(here) < MINIMUM_MATCHES:
        return None
    matrix, agrees = cv2.findHomography(here, there, cv2.USAC_MAGSAC, 2.0, maxIters=10000)
    if matrix is None or agrees.sum() < MINIMUM_MATCHES:
        return None
    for _ in range(5 if near else 0):
        moved = cv2.perspectiveTransform(here[:, None], matrix)[:, 0]
        close = np.linalg.norm(moved - there, axis=1) < near
        if close.sum() < MINIMUM_MATCHES:
            return None
        matrix, _ = cv2.findHomography(here[close], there[close], 0)
        if matrix is None:
            return None
    return view_by_homography(matrix, found.sizes[0], found.sizes[index])


def guess_intrinsics(size: tuple[int, int]) -> Intrinsics:
    """Return the camera of a photo of `size` if nothing tells its focal length."""
    return Intrinsics(size, FOCAL_GUESS * max(size), (size[0] / 2, size[1] / 2))


def two_view_cameras(name: str, found: Correspondences, index: int) -> Cameras | None:
    """Return the view of one reference by the essential matrix, with a guessed focal length.

    A wrong focal length bends the depths that are found, not where they project to.
    """
    here, there = found.places(0, index)
    _, agrees = fundamental_matrix(here, there)
    if agrees.sum() < MINIMUM_MATCHES:
        return None
    target, reference = (guess_intrinsics(found.sizes[photo]) for photo in (0, index))
    seen = (here - target.center) / target.focal, (there - reference.center) / reference.focal
    threshold = 1.5 / target.focal
    essential, agrees = cv2.findEssentialMat(
        seen[0], seen[1], np.eye(3), method=cv2.USAC_MAGSAC, prob=0.9999, threshold=threshold
    )
    if essential is None or essential.shape != (3, 3) or agrees.sum() < MINIMUM_MATCHES:
        return None
    _, rotation, translation, _, triangulated = cv2.recoverPose(
        essential, seen[0], seen[1], np.eye(3), distanceThresh=1e6, mask=agrees
    )
    places = (triangulated[:3] / triangulated[3]).T
    places = places[(agrees.ravel() > 0) & (places[:, 2] > 0)]
    if len(places) < MINIMUM_MATCHES:
        return None
    unit = float(np.median(places[:, 2]))
    view = View(
        target,
        reference,
        tuple(map(tuple, rotation.tolist())),
        tuple((translation.ravel() / unit).tolist()),
    )
    nearest = float(np.quantile(places[:, 2], 0.01)) / unit
    points = tuple(map(tuple, (places / unit).tolist()))
    return Cameras("essential matrix", {name: view}, 1.3 / nearest, points)
