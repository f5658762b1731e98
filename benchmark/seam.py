"""The step in colour across the hole's edge, against the truth's.

python -m benchmark.seam --gt_path gt.png --mask_path mask.png --results_dir results
"""

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np

from benchmark.base import Metric, Score, in_parallel
from benchmark.photos import Photo, Truth

REACH = 3
"""Pixels on each side of the edge: a feathered mask spreads a step over as many."""


def near_edge(hole: np.ndarray, reach: int) -> np.ndarray:
    """Return which pixels are at most `reach` from the edge of the bool `(H, W)` hole.

    Where the hole meets the border of the photo, there is no edge.
    """
    kernel = np.ones((3, 3), np.uint8)
    values = hole.astype(np.uint8)
    grown = cv2.dilate(values, kernel, iterations=reach, borderType=cv2.BORDER_REPLICATE)
    shrunk = cv2.erode(values, kernel, iterations=reach, borderType=cv2.BORDER_REPLICATE)
    return grown > shrunk


def seam_against(truth: np.ndarray, hole: np.ndarray) -> Callable[[np.ndarray], float]:
    """Return a function from an image to its mean step across the edge of `hole`, less `truth`'s.

    Images are uint8 `(H, W, 3)`, `hole` is bool `(H, W)`. A step is what Sobel's gradients add up
    to over the pixels near the edge, at right angles to it: in levels of 255, whether sharp or
    spread. The truth's are taken off pixel by pixel. It is 0 for a hole without an edge.
    """
    expected = truth.astype(np.float64)
    band = near_edge(hole, REACH)
    if not band.any():
        return lambda image: 0.0
    smooth = cv2.GaussianBlur(hole.astype(np.float64), (0, 0), REACH)
    slopes = [gradient[band] for gradient in sobel(smooth)]
    length = np.hypot(*slopes)
    across, down = (np.divide(s, length, out=np.zeros_like(s), where=length > 0) for s in slopes)

    def seam(image: np.ndarray) -> float:
        horizontal, vertical = (gradient[band] for gradient in sobel(image - expected))
        gradient = across[:, None] * horizontal + down[:, None] * vertical
        return float(2 * REACH * np.abs(gradient).mean())

    return seam


def sobel(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the gradients to the right and down, in units of `values` a pixel."""
    options = {"ksize": 3, "scale": 1 / 8, "borderType": cv2.BORDER_REPLICATE}
    return (
        cv2.Sobel(values, cv2.CV_64F, 1, 0, **options),
        cv2.Sobel(values, cv2.CV_64F, 0, 1, **options),
    )


class Seam(Metric):
    """How far the step in colour across the hole's edge is from the truth's; lower is better.

    Convention: 8-bit RGB at 512 x 512 (or the photo's own size); Sobel gradients across the edge,
    less the truth's at the same pixel and without the sign, added up over three pixels on each
    side; their mean along the edge and over the channels, in levels of 255. Source: the idea is
    that of ASUKA's evaluation (arXiv 2312.04831), which looks at a line of one pixel.
    """

    scores = (Score("seam", "seam", higher_is_better=False, digits=2),)

    def settings(self) -> dict[str, Any]:
        """Return the resolution."""
        return {"resolution": self.options.resolution}

    def measure(self, truth: Truth, completions: Sequence[Photo]) -> list[list[float]]:
        """Return the difference of each completion, in levels of 255."""
        size = self.options.resolution
        seam = seam_against(truth.pixels(size), truth.hole(size))
        return in_parallel(lambda photo: [seam(photo.pixels(size))], completions)


if __name__ == "__main__":
    from benchmark.suite.alone import run_alone

    run_alone("seam")
