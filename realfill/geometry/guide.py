"""From a prefill to the scene that is left for the model: what is sure is not a hole any more."""

import hashlib
import json
from dataclasses import replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image, ImageChops, ImageStat

from realfill.errors import UserError
from realfill.geometry.files import PICTURES, RECORD, REPORT
from realfill.geometry.findings import Findings, look
from realfill.geometry.prefill import CONFIDENT, Prefill, empty_prefill
from realfill.geometry.relative import DepthModel
from realfill.images.blend import composite
from realfill.images.read import read_photo
from realfill.scene import Scene
from realfill.storage import write_image, write_json

METHOD_VERSION = 8
"""To be raised when the same photos would give another prefill, so that none is reused."""
SMALLEST_DETAIL = 96
"""The short side over the width in pixels of what is too narrow to be worth a join."""


def cached_prefill(
    scene: Scene, folder: Path, device: torch.device, depth_model: DepthModel | None = None
) -> Prefill:
    """Return the prefill of `scene`, from `folder` if it was made of the same photos."""
    kept = read_prefill(scene, folder, depth_model)
    return kept if kept is not None else find_anew(scene, folder, device, depth_model).prefill


def find_anew(
    scene: Scene, folder: Path, device: torch.device, depth_model: DepthModel | None = None
) -> Findings:
    """Find what the references show of `scene`, and keep the prefill in `folder`.

    Leaves cameras.json there and, if there is something to show, prefill.png and confidence.png;
    removes an earlier run's geometry.png, which may be of other photos.
    """
    findings = look(scene, device, depth_model)
    prefill, cameras = findings.prefill, findings.cameras
    (folder / REPORT).unlink(missing_ok=True)
    filled = prefill.confidence.getbbox() is not None
    for name, image in zip(PICTURES, (prefill.image, prefill.confidence), strict=True):
        (folder / name).unlink(missing_ok=True)
        if filled:
            write_image(folder / name, image)
    said = {"digest": digest(scene, depth_model), "filled": filled, "message": prefill.message}
    said |= {"seconds": findings.seconds, "method": cameras.method, "is_guess": prefill.is_guess}
    views = {name: view.record() for name, view in cameras.views.items()}
    write_json(folder / RECORD, said | {"views": views, "matches": findings.matches.with_target})
    return findings


def digest(scene: Scene, depth_model: DepthModel | None) -> str:
    """Return a hash of all that decides the prefill."""
    made_of = f"{METHOD_VERSION} {versions()} {scene.digest()}"
    if depth_model is not None:
        made_of += f" depth {depth_model.identity}"
    return hashlib.sha256(made_of.encode()).hexdigest()


def read_prefill(scene: Scene, folder: Path, depth_model: DepthModel | None) -> Prefill | None:
    """Return the prefill that an earlier run left, or None if it is another's or damaged."""
    try:
        record = json.loads((folder / RECORD).read_text("utf-8"))
        if record["digest"] != digest(scene, depth_model):
            return None
        if not record["filled"]:
            return empty_prefill(scene, record["message"])
        image, confidence = (read_photo(folder / name) for name in PICTURES)
        confidence = confidence.convert("L")
        return Prefill(image, confidence, record["message"], record["is_guess"])
    except (OSError, ValueError, LookupError, TypeError, UserError):
        return None  # it is made anew


def versions() -> str:
    """Return the releases of what finds the cameras: others find others."""
    return (
        " ".join(
            f"{name} {version(name)}" if find_spec(module) else f"no {name}"
            for name, module in (("pycolmap", "pycolmap"), ("torch", "torch"))
        )
        + f" opencv {cv2.__version__}"
    )


def confident_mask(prefill: Prefill, mask: Image.Image) -> Image.Image:
    """Return which pixels of the hole are taken as known: L, 0 or 255.

    What is confident, without specks of confidence and without specks of doubt.
    """
    width = max(3, min(mask.size) // SMALLEST_DETAIL // 2 * 2 + 1)
    limit = round(255 * CONFIDENT)
    confident = prefill.confidence.point([255 if value >= limit else 0 for value in range(256)])
    confident = ImageChops.lighter(confident, ImageChops.invert(mask))
    square, pixels = np.ones((width, width), np.uint8), np.asarray(confident)
    for how in (cv2.MORPH_CLOSE, cv2.MORPH_OPEN):
        pixels = cv2.morphologyEx(pixels, how, square)
    return ImageChops.darker(Image.fromarray(pixels), mask)


def guide(scene: Scene, prefill: Prefill) -> tuple[Scene, float]:
    """Return the scene with its hole filled by the prefill, and the strength to sample it with.

    Its mask is what is not confident; it may come out empty. What is left is sampled from noise
    (strength 1) as far as no reference shows it, and from the prefill under noise (0.5) as far as
    one does, but doubtfully. Where nothing is confident the scene is returned as it is.
    """
    known = confident_mask(prefill, scene.mask)
    if not prefill.confidence.getbbox() or not known.getbbox():
        return scene, 1.0
    target = composite(prefill.image, scene.target, scene.mask)
    rest = ImageChops.subtract(scene.mask, known)
    if not rest.getbbox():
        return replace(scene, target=target, mask=rest), 1.0
    seen = prefill.confidence.point(lambda value: 255 if value else 0)
    share = ImageStat.Stat(seen, rest).mean[0] / 255
    return replace(scene, target=target, mask=rest), 1 - 0.5 * share
