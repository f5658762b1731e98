"""Where the objects of photos are, from annotations in the forms of COCO and BSDS."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from realfill.errors import UserError

Labels = Callable[[], np.ndarray]
"""Reads a label map `(H, W)`: 0 is no object, k the object k."""


def find_objects(source: Path, photos: Sequence[Path]) -> dict[Path, Labels]:
    """Return what reads the label map of each of the `photos` that `source` has one of.

    `source` is COCO's JSON of instances, or a folder of files with the photos' names: BSDS's
    `.mat`, or label maps as `.png`. Raises `UserError` if it has none, or is damaged.
    """
    if source.is_file():
        found = find_polygons(source, photos)
    else:
        named = {
            path.stem: path for suffix in ("mat", "png") for path in source.glob(f"*.{suffix}")
        }
        readers = {".mat": read_bsds, ".png": read_png}
        found = {
            photo: partial(readers[named[photo.stem].suffix], named[photo.stem])
            for photo in photos
            if photo.stem in named
        }
    if not found:
        raise UserError(f"{source}: says nothing of the objects of these photos; give another one")
    return found


def find_polygons(path: Path, photos: Sequence[Path]) -> dict[Path, Labels]:
    """Return the polygons of COCO's JSON by photo; crowds, which are none, are passed over."""
    try:
        content = json.loads(path.read_text("utf-8"))
        images = {image["id"]: image for image in content["images"]}
        polygons: dict[int, list] = {}
        for each in content["annotations"]:
            if not each.get("iscrowd") and isinstance(each["segmentation"], list):
                polygons.setdefault(each["image_id"], []).append(each["segmentation"])
        by_name = {Path(image["file_name"]).name: key for key, image in images.items()}
        sizes = {key: (image["height"], image["width"]) for key, image in images.items()}
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: not COCO's JSON of instances ({error}); fetch it again") from None
    return {
        photo: partial(draw_polygons, polygons[by_name[photo.name]], sizes[by_name[photo.name]])
        for photo in photos
        if by_name.get(photo.name) in polygons
    }


def draw_polygons(
    objects: Sequence[Sequence[Sequence[float]]], size: tuple[int, int]
) -> np.ndarray:
    """Draw objects, each of several polygons x, y, x, y, …, into a label map of `size` (H, W)."""
    labels = np.zeros(size, np.float32)
    for number, polygons in enumerate(objects, start=1):
        corners = [
            np.array(each, float).reshape(-1, 2).round().astype(np.int32) for each in polygons
        ]
        cv2.fillPoly(labels, corners, number)
    return labels


def read_png(path: Path) -> np.ndarray:
    """Read a label map of one channel. Raises `UserError`."""
    try:
        with Image.open(path) as image:
            labels = np.asarray(image)
    except OSError:
        raise UserError(f"{path}: damaged or not an image; make the label map anew") from None
    if labels.ndim != 2:
        raise UserError(f"{path}: a label map has one channel; make it anew")
    return labels.astype(np.float32)


def read_bsds(path: Path) -> np.ndarray:
    """Read the first person's segments of a photo of BSDS500. Raises `UserError`."""
    if find_spec("scipy") is None:
        raise UserError(f"{path}: needs scipy to be read: pip install scipy")
    from scipy.io import loadmat, matlab

    try:
        labels = loadmat(path)["groundTruth"][0, 0]["Segmentation"][0, 0]
    except (OSError, ValueError, LookupError, TypeError, matlab.MatReadError) as error:
        raise UserError(f"{path}: not a segmentation of BSDS500 ({error})") from None
    return np.asarray(labels, np.float32)
