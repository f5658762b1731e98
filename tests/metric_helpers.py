"""Images for the metrics, read once without anything of ours, and running a metric alone."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from benchmark.base import Metric, Options, find_metric
from benchmark.photos import Photo, Truth
from tests import metric_models
from tests.conftest import ROOT, draw_photo, environment


def write_images(
    folder: Path,
    size: tuple[int, int],
    hole: tuple[slice, slice],
    other_size: tuple[int, int] | None = None,
) -> tuple[Truth, list[Photo]]:
    """Write a truth, a mask, and three completions that differ from it by more and more."""
    truth = draw_photo(1, *size)
    mask = np.zeros(size[::-1], np.uint8)
    mask[hole] = 255
    truth.save(folder / "gt.png")
    Image.fromarray(mask).save(folder / "mask.png")
    random = np.random.default_rng(0)
    (folder / "results").mkdir()
    for index, amount in enumerate((3, 20, 60)):
        noise = random.normal(0, amount, (*size[::-1], 3))
        pixels = (np.asarray(truth) + noise).clip(0, 255).astype(np.uint8)
        image = Image.fromarray(pixels).resize(other_size or size)
        image.save(folder / "results" / f"{index}.png")
    photos = [Photo(folder / "results" / f"{index}.png") for index in range(3)]
    return Truth(folder / "gt.png", folder / "mask.png"), photos


def small_images(folder: Path) -> tuple[Truth, list[Photo]]:
    return write_images(folder, (160, 120), np.s_[30:90, 40:120])


def reference_images(
    truth: Truth, photos: Sequence[Photo], resolution: int | None
) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Read truth, hole and completions with OpenCV and nothing of ours."""

    def read(path: Path, flags: int, interpolation: int) -> np.ndarray:
        pixels = cv2.imread(str(path), flags)
        if resolution is None:
            return pixels
        return cv2.resize(pixels, (resolution, resolution), interpolation=interpolation)

    colour = (cv2.IMREAD_COLOR, cv2.INTER_LINEAR)
    hole = read(truth.mask_path, cv2.IMREAD_GRAYSCALE, cv2.INTER_NEAREST) > 127
    images = [read(photo.path, *colour) for photo in photos]
    return read(truth.path, *colour), hole, images


def loaded(name: str, model_dir: Path) -> Metric:
    """Return the metric `name` with the random model that is made for it."""
    getattr(metric_models, "make_inception" if name == "fid" else f"make_{name}")(model_dir)
    metric = find_metric(name)(Options(model_dir=model_dir))
    metric.load()
    return metric


def run_alone(name: str, *flags: object) -> str:
    command = [sys.executable, "-m", f"benchmark.{name}", *map(str, flags)]
    result = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout
