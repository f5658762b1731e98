"""The error in colour just inside the hole's edge.

python -m benchmark.ring_colour --gt_path gt.png --mask_path mask.png --results_dir results
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmark.base import Metric, Score, in_parallel
from benchmark.photos import Photo, Truth
from benchmark.seam import near_edge

WIDTH = 1 / 32
"""Of the ring, over the photo's short side."""


def ring_of(hole: np.ndarray) -> np.ndarray:
    """Return which pixels of the bool `(H, W)` hole are near its edge; all of it without one."""
    ring = hole & near_edge(hole, max(1, round(min(hole.shape) * WIDTH)))
    return ring if ring.any() else hole


def colour_error(image: np.ndarray, truth: np.ndarray, ring: np.ndarray) -> float:
    """Return the mean absolute difference of uint8 `(H, W, 3)` images over the pixels of `ring`."""
    return float(np.abs(image[ring].astype(np.float64) - truth[ring]).mean())


class RingColour(Metric):
    """Mean error in colour in a ring inside the hole's edge, in levels of 255; lower is better.

    Convention: 8-bit RGB at 512 x 512 (or the photo's own size); the ring is as wide as a 32nd of
    the short side; the mean of the absolute differences over its pixels and channels.
    """

    scores = (Score("ring_colour", "ring colour", higher_is_better=False, digits=2),)

    def settings(self) -> dict[str, Any]:
        """Return the resolution."""
        return {"resolution": self.options.resolution}

    def measure(self, truth: Truth, completions: Sequence[Photo]) -> list[list[float]]:
        """Return the error of each completion."""
        size = self.options.resolution
        expected, ring = truth.pixels(size), ring_of(truth.hole(size))
        return in_parallel(
            lambda photo: [colour_error(photo.pixels(size), expected, ring)], completions
        )


if __name__ == "__main__":
    from benchmark.suite.alone import run_alone

    run_alone("ring_colour")
