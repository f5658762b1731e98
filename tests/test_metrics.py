"""PSNR and SSIM against scikit-image, on the same images."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from benchmark.base import Options, find_metric
from benchmark.photos import Photo, Truth
from realfill.errors import UserError
from tests.metric_helpers import reference_images, run_alone, small_images, write_images

BOXES = {
    "inside": (0.3, 0.3, 0.7, 0.6),
    "at the border": (0.0, 0.0, 0.4, 1.0),
    "everything but the border": (0.02, 0.02, 0.98, 0.98),
}


def reference_ssim(truth: np.ndarray, image: np.ndarray, hole: np.ndarray) -> float:
    """Return scikit-image's SSIM over the hole, with replicated borders."""
    around = ((5, 5), (5, 5), (0, 0))
    _, likeness = structural_similarity(
        np.pad(truth, around, mode="edge"),
        np.pad(image, around, mode="edge"),
        channel_axis=2,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=255,
        full=True,
    )
    return float(likeness[5:-5, 5:-5][hole].mean())


@pytest.mark.parametrize("resolution", [512, None])
@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("size", [(512, 512), (300, 200), (720, 600)])
def test_psnr_and_ssim_are_those_of_scikit_image(
    tmp_path: Path, size: tuple[int, int], box: str, resolution: int | None
) -> None:
    left, top, right, bottom = np.array(BOXES[box]) * [*size, *size]
    truth, photos = write_images(
        tmp_path, size, np.s_[int(top) : int(bottom), int(left) : int(right)]
    )
    compare_with_scikit_image(truth, photos, resolution)


@pytest.mark.parametrize("pixel", [(0, 0), (511, 511), (200, 301)])
def test_a_hole_of_one_pixel(tmp_path: Path, pixel: tuple[int, int]) -> None:
    compare_with_scikit_image(*write_images(tmp_path, (512, 512), pixel), 512)


def test_completions_of_another_size_than_the_truth(tmp_path: Path) -> None:
    images = write_images(tmp_path, (640, 480), np.s_[50:300, 60:200], other_size=(512, 512))
    compare_with_scikit_image(*images, 512)


def compare_with_scikit_image(
    truth: Truth, photos: Sequence[Photo], resolution: int | None
) -> None:
    options = Options(resolution=resolution)
    expected, hole, images = reference_images(truth, photos, resolution)
    measured = find_metric("psnr")(options).measure(truth, photos)
    reference = [
        peak_signal_noise_ratio(expected[hole], image[hole], data_range=255) for image in images
    ]
    np.testing.assert_allclose(np.ravel(measured), reference, atol=1e-3, rtol=0)
    measured = find_metric("ssim")(options).measure(truth, photos)
    reference = [reference_ssim(expected, image, hole) for image in images]
    np.testing.assert_allclose(np.ravel(measured), reference, atol=1e-3, rtol=0)


def test_an_image_that_equals_the_truth(tmp_path: Path) -> None:
    truth, _ = small_images(tmp_path)
    [[psnr]] = find_metric("psnr")(Options()).measure(truth, [Photo(truth.path)])
    [[ssim]] = find_metric("ssim")(Options()).measure(truth, [Photo(truth.path)])
    assert psnr == 100
    assert ssim == pytest.approx(1)


def test_a_hole_that_vanishes_is_said(tmp_path: Path) -> None:
    truth, photos = write_images(tmp_path, (1100, 900), (1, 1))
    with pytest.raises(UserError, match="marks no pixel at 512 x 512"):
        find_metric("psnr")(Options()).measure(truth, photos)
    find_metric("psnr")(Options(resolution=None)).measure(truth, photos)


@pytest.mark.parametrize("name", ["psnr", "ssim"])
def test_a_metric_runs_alone(tmp_path: Path, name: str) -> None:
    truth, photos = small_images(tmp_path)
    flags = ["--gt_path", truth.path, "--mask_path", truth.mask_path]
    flags += ["--results_dir", tmp_path / "results", "--cache_dir", tmp_path / "cache"]
    printed = run_alone(name, *flags, "--num_images", 3)
    expected = np.ravel(find_metric(name)(Options()).measure(truth, photos))
    assert f"{name} 1.png {expected[1]:.6f}" in printed
    assert printed.splitlines()[-1] == f"FINAL_SCORE:{expected.mean():.8f}"
