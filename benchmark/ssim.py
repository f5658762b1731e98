"""SSIM inside the hole.

python -m benchmark.ssim --gt_path gt.png --mask_path mask.png --results_dir results
"""

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np

from benchmark.base import Metric, Score, in_parallel
from benchmark.photos import Photo, Truth

RADIUS, SIGMA = 5, 1.5
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def blur(values: np.ndarray) -> np.ndarray:
    """Return the mean around each pixel under the Gaussian window; borders are replicated."""
    side = 2 * RADIUS + 1
    return cv2.GaussianBlur(values, (side, side), SIGMA, borderType=cv2.BORDER_REPLICATE)


def surroundings(hole: np.ndarray) -> tuple[slice, slice]:
    """Return the box around the bool `hole` that holds every window centred in it."""
    rows, columns = np.flatnonzero(hole.any(1)), np.flatnonzero(hole.any(0))
    top, left = max(0, rows[0] - RADIUS), max(0, columns[0] - RADIUS)
    return slice(top, rows[-1] + RADIUS + 1), slice(left, columns[-1] + RADIUS + 1)


def ssim_against(truth: np.ndarray, hole: np.ndarray) -> Callable[[np.ndarray], float]:
    """Return a function from an image to its SSIM with `truth` over the pixels of `hole`.

    Images are uint8 `(H, W, 3)`, `hole` is bool `(H, W)`; the SSIM is from -1 to 1. What depends
    on the truth alone is computed once, and nothing outside the windows that the hole needs.
    """
    box = surroundings(hole)
    inside = hole[box]
    expected = truth[box].astype(np.float64)
    mean = blur(expected)
    variance = blur(expected**2) - mean**2

    def ssim(image: np.ndarray) -> float:
        values = image[box].astype(np.float64)
        other_mean = blur(values)
        other_variance = blur(values**2) - other_mean**2
        covariance = blur(values * expected) - mean * other_mean
        likeness = (2 * mean * other_mean + C1) * (2 * covariance + C2)
        likeness /= (mean**2 + other_mean**2 + C1) * (variance + other_variance + C2)
        return float(likeness[inside].mean())

    return ssim


class Ssim(Metric):
    """Structural similarity, averaged over the hole's pixels and channels; higher is better.

    Convention: 8-bit RGB at 512 x 512 (or the photo's own size), Gaussian window of 11 pixels with
    sigma 1.5, borders replicated, the map's mean over the hole. Sources: Wang et al. 2004;
    eric15342335/realfill, which also lifts a negative mean to 0; here it stays negative.
    """

    scores = (Score("ssim", "SSIM", higher_is_better=True),)

    def settings(self) -> dict[str, Any]:
        """Return the resolution."""
        return {"resolution": self.options.resolution}

    def measure(self, truth: Truth, completions: Sequence[Photo]) -> list[list[float]]:
        """Return the SSIM of each completion."""
        size = self.options.resolution
        ssim = ssim_against(truth.pixels(size), truth.hole(size))
        return in_parallel(lambda photo: [ssim(photo.pixels(size))], completions)


if __name__ == "__main__":
    from benchmark.suite.alone import run_alone

    run_alone("ssim")
