"""PSNR inside the hole.

python -m benchmark.psnr --gt_path gt.png --mask_path mask.png --results_dir results
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmark.base import Metric, Score, in_parallel
from benchmark.photos import Photo, Truth

IDENTICAL = 100.0
"""Decibels of an image that equals the truth, for which the definition gives infinity."""


def psnr_inside(image: np.ndarray, truth: np.ndarray, hole: np.ndarray) -> float:
    """Return the PSNR in dB of uint8 `(H, W, 3)` images over the pixels of the bool `hole`.

    10 log10(255² / MSE), at most 100.
    """
    error = np.mean((image[hole].astype(np.float64) - truth[hole]) ** 2)
    return min(IDENTICAL, float(10 * np.log10(255**2 / error))) if error else IDENTICAL


class Psnr(Metric):
    """Peak signal-to-noise ratio in dB over the hole's pixels and channels; higher is better.

    Convention: 8-bit RGB at 512 x 512 (or the photo's own size), mean squared error over the hole
    alone, mean of the images' decibels. Source: RealFill's Table 1 ("within the filled-in
    region") as eric15342335/realfill computes it.
    """

    scores = (Score("psnr", "PSNR", higher_is_better=True, unit="dB", digits=2),)

    def settings(self) -> dict[str, Any]:
        """Return the resolution."""
        return {"resolution": self.options.resolution}

    def measure(self, truth: Truth, completions: Sequence[Photo]) -> list[list[float]]:
        """Return the decibels of each completion."""
        size = self.options.resolution
        expected, hole = truth.pixels(size), truth.hole(size)
        return in_parallel(
            lambda photo: [psnr_inside(photo.pixels(size), expected, hole)], completions
        )


if __name__ == "__main__":
    from benchmark.suite.alone import run_alone

    run_alone("psnr")
