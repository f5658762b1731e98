"""Ranking completions by their correspondences in the hole (RealFill, section 3.4)."""

from dataclasses import dataclass

import numpy as np

from realfill.matching.base import Matches
from realfill.matching.epipolar import fundamental_matrix, sampson_distance

COUNTS = ("geometric", "hole", "whole")
NEAR = 3.0
"""Pixels at matching size: the largest Sampson distance that agrees with the geometry."""
FEWEST = 20
"""Where no completion has as many correspondences, they do not tell and consensus ranks."""


@dataclass(frozen=True)
class Geometry:
    """How the known region of the target lies to one reference."""

    matrix: np.ndarray | None
    """The fundamental matrix `(3, 3)`, or None if too few known matches agree on one."""
    known: int
    """Matches of the known region."""
    agreeing: int
    """Those that agree with the matrix."""


@dataclass(frozen=True)
class Ranked:
    """One completion's evidence."""

    name: str
    numbers: dict[str, int]
    """Correspondences that count, by reference."""
    confidences: dict[str, float]
    """Their mean confidence in 0..1, by reference; 0 if there are none."""
    consensus: float
    """1 less the root mean square difference to the median of all completions, of 255."""

    @property
    def number(self) -> int:
        """The correspondences with all references."""
        return sum(self.numbers.values())

    @property
    def confidence(self) -> float:
        """The mean confidence of all correspondences."""
        total = sum(self.numbers[name] * self.confidences[name] for name in self.numbers)
        return total / max(1, self.number)


def known_geometry(matches: Matches, hole: np.ndarray) -> Geometry:
    """Find the geometry of the target's known region and a reference.

    `matches` are of the target with its hole blanked out, above the confidence threshold; `hole`
    is a bool `(H, W)` at matching size.
    """
    known = matches.chosen(~inside(matches.points, hole))
    matrix, agreeing = fundamental_matrix(known.points, known.reference_points)
    return Geometry(matrix, len(known.points), int(agreeing.sum()))


def counting(
    matches: Matches, count: str, hole: np.ndarray | None, geometry: Geometry | None
) -> np.ndarray:
    """Say which matches count, bool `(N,)`.

    "whole" counts all; "hole" those that end in the bool `(H, W)` `hole`; "geometric" those of
    them that agree with `geometry`, or all of them if it has no matrix.
    """
    if count == "whole":
        return np.ones(len(matches.points), bool)
    assert hole is not None, "only the whole image can be counted without a mask"
    counted = inside(matches.points, hole)
    if count == "geometric" and geometry is not None and geometry.matrix is not None:
        distance = sampson_distance(geometry.matrix, matches.points, matches.reference_points)
        counted &= distance <= NEAR
    return counted


def inside(points: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """Say which points `(N, 2)` (x, y) lie in the bool `(H, W)` `hole`."""
    height, width = hole.shape
    columns, rows = points.round().astype(int).T
    return hole[rows.clip(0, height - 1), columns.clip(0, width - 1)]


def consensus(images: list[np.ndarray], hole: np.ndarray | None) -> list[float]:
    """Return how near each uint8 `(H, W, 3)` image is to the median of all of them.

    Only the pixels of the bool `(H, W)` `hole` are looked at; None is the whole image. 1 is the
    median itself; 1 less the root mean square difference over 255.
    """
    pixels = np.stack([image if hole is None else image[hole] for image in images])
    median = np.median(pixels, axis=0)
    squares = [np.square(image - median).mean() for image in pixels]
    return [1 - float(np.sqrt(square)) / 255 for square in squares]


def put_in_order(completions: list[Ranked]) -> tuple[str, list[Ranked]]:
    """Return what ranked, "correspondences" or "consensus", and the completions, best first.

    Ties go by mean confidence, then by consensus, then by the order given.
    """
    if all(completion.number < FEWEST for completion in completions):
        return "consensus", sorted(completions, key=lambda completion: -completion.consensus)

    def key(completion: Ranked) -> tuple[float, ...]:
        return -completion.number, -completion.confidence, -completion.consensus

    return "correspondences", sorted(completions, key=key)
