"""From a prefill to the scene that is left for the model: what is sure is not a hole any more."""

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import cv2
import torch
from PIL import Image, ImageChops, ImageFilter, ImageStat

from realfill.errors import UserError
from realfill.geometry.cameras import find_cameras
from realfill.geometry.prefill import CONFIDENT, Prefill, empty_prefill, make_prefill
from realfill.images.blend import composite
from realfill.images.read import read_photo
from realfill.scene import Scene
from realfill.storage import write_image, write_json

RECORD = "cameras.json"
METHOD_VERSION = 4
"""To be raised when the same photos would give another prefill, so that none is reused."""
SMALLEST_DETAIL = 96
"""The short side over the width in pixels of what is too narrow to be worth a join."""


def cached_prefill(scene: Scene, folder: Path, device: torch.device) -> Prefill:
    """Return the prefill of `scene`, from `folder` where it was made of the same photos.

    Leaves cameras.json there and, where there is something to show, prefill.png and
    confidence.png.
    """
    pictures, record_path = (folder / "prefill.png", folder / "confidence.png"), folder / RECORD
    digest = hashlib.sha256(f"{METHOD_VERSION} {versions()} {scene.digest()}".encode()).hexdigest()
    kept = read_prefill(scene, record_path, pictures, digest)
    if kept is not None:
        return kept
    print("geometry: finding the cameras")
    started = time.perf_counter()
    with one_thread():
        cameras = find_cameras(scene.target, scene.mask, scene.references, device)
    print(f"geometry: cameras by {cameras.method}; comparing depths and colours")
    found = time.perf_counter()
    with one_thread():
        prefill = make_prefill(scene, cameras, device)
    seconds = {"cameras": found - started, "depths and colours": time.perf_counter() - found}
    filled = prefill.confidence.getbbox() is not None
    for path, image in zip(pictures, (prefill.image, prefill.confidence), strict=True):
        path.unlink(missing_ok=True)
        if filled:
            write_image(path, image)
    views = {name: view.record() for name, view in cameras.views.items()}
    said = {"digest": digest, "filled": filled, "message": prefill.message}
    said["seconds"] = {stage: round(value, 2) for stage, value in seconds.items()}
    write_json(record_path, said | {"method": cameras.method, "views": views})
    return prefill


def read_prefill(
    scene: Scene, record_path: Path, pictures: tuple[Path, Path], digest: str
) -> Prefill | None:
    """Return the prefill that an earlier run left, or None if it is another's or damaged."""
    try:
        record = json.loads(record_path.read_text("utf-8"))
        if record["digest"] != digest:
            return None
        if not record["filled"]:
            return empty_prefill(scene, record["message"])
        confidence = read_photo(pictures[1]).convert("L")
        return Prefill(read_photo(pictures[0]), confidence, record["message"])
    except (OSError, ValueError, LookupError, TypeError, UserError):
        return None  # it is made anew


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread: the sums have one order, and the many small steps do not wait.

    On two busy cores the sweep took ten times as long with two threads.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


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
    confident = prefill.confidence.point(lambda value: 255 if value >= limit else 0)
    confident = ImageChops.lighter(confident, ImageChops.invert(mask))
    grow, shrink = ImageFilter.MaxFilter(width), ImageFilter.MinFilter(width)
    for step in (grow, shrink, shrink, grow):
        confident = confident.filter(step)
    return ImageChops.darker(confident, mask)


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
