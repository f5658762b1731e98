"""Features of each photo once and matches of each pair once, for all that asks for cameras."""

from itertools import combinations
from typing import NamedTuple

import numpy as np
from PIL import Image

from realfill.images.blend import resize
from realfill.matching.base import Matches
from realfill.matching.evidence import inside
from realfill.matching.sift import Features, Sift

LONG_SIDE = 768
"""Pixels of the longer side at which features are found and depth is swept."""
LEAST_CONTRAST = 0.015
"""Of SIFT's features: weak ones tie photos that strong ones do not."""
RATIO = 0.15
"""Least confidence of a match: Lowe's ratio test at 0.85. What is wrong falls to the geometry."""
MOST_MATCHED = 12
"""References that are matched with one another: more take minutes, and six are used at most."""
AGREE = 4.0
"""Pixels of the working size within which a match agrees with the cameras."""


class Correspondences(NamedTuple):
    """The keypoints of the photos and which of them match; photo 0 is the target."""

    names: list[str]
    """The references, from photo 1: those that match the target best, if there are many."""
    sizes: list[tuple[int, int]]
    """Width and height of each photo at the working size."""
    points: list[np.ndarray]
    """`(N, 2)` a photo: x, y in pixels of the working size, first pixel's centre at (0.5, 0.5)."""
    pairs: dict[tuple[int, int], np.ndarray]
    """`(M, 2)` a pair of photos: indices into the points of either."""
    with_target: dict[str, int]
    """Matches with the target, of all references."""

    def places(self, first: int, second: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the matching points of two photos, `(M, 2)` each, in pixels."""
        chosen = self.pairs[first, second]
        return self.points[first][chosen[:, 0]], self.points[second][chosen[:, 1]]


def work_image(photo: Image.Image) -> Image.Image:
    """Return the photo with a long side of 768 px at most."""
    return resize(photo, work_size(photo.size))


def work_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return the width and height with a long side of 768 px at most."""
    scale = min(1.0, LONG_SIDE / max(size))
    width, height = (max(1, round(side * scale)) for side in size)
    return width, height


def find_correspondences(
    target: Image.Image, mask: Image.Image, references: dict[str, Image.Image]
) -> Correspondences:
    """Match all photos with each other; nothing in the target's hole is looked at.

    Of many references, the `MOST_MATCHED` that have most matches with the target.
    """
    matcher = Sift(LEAST_CONTRAST)
    features = extract(matcher, target, mask, list(references.values()))

    def match(first: int, others: list[int]) -> list[Matches]:
        found = matcher.match(features[first], [features[other] for other in others])
        return [of_pair.chosen(of_pair.confidence > RATIO) for of_pair in found]

    every = dict(enumerate(match(0, list(range(1, len(features)))), 1))
    best = sorted(every, key=lambda photo: -len(every[photo].points))[:MOST_MATCHED]
    kept = [0, *sorted(best)]
    matches = {(0, place): every[photo] for place, photo in enumerate(kept) if photo}
    for first in range(1, len(kept) - 1):
        for second, found in enumerate(match(kept[first], kept[first + 1 :]), first + 1):
            matches[first, second] = found
    names, photos = list(references), [target, *references.values()]
    sizes = [work_size(photos[photo].size) for photo in kept]
    counts = {name: len(every[photo].points) for photo, name in enumerate(names, 1)}
    return Correspondences(
        [names[photo - 1] for photo in kept[1:]], sizes, *index(len(kept), matches), counts
    )


def match_with_target(
    target: Image.Image, mask: Image.Image, references: list[Image.Image]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the corresponding points of the target and each reference, in pixels of either.

    `(N, 2)` each, x and y, pixel centres at .5; nothing in the target's hole is looked at.
    """
    matcher = Sift()
    features = extract(matcher, target, mask, references)
    scales = [np.array(p.size) / work_size(p.size) for p in (target, *references)]
    pairs = []
    for found, scale in zip(matcher.match(features[0], features[1:]), scales[1:], strict=True):
        sure = found.chosen(found.confidence > matcher.default_threshold)
        pairs.append(((sure.points + 0.5) * scales[0], (sure.reference_points + 0.5) * scale))
    return pairs


def extract(
    matcher: Sift, target: Image.Image, mask: Image.Image, references: list[Image.Image]
) -> list[Features]:
    """Return the features of all photos at the working size, the target's outside its hole."""
    photos = [work_image(photo) for photo in (target, *references)]
    features = [matcher.extract(photo) for photo in photos]
    hole = np.asarray(mask.resize(photos[0].size, Image.Resampling.BOX)) > 0
    seen = ~inside(features[0].points, hole)
    features[0] = Features(*(values[seen] for values in features[0]))
    return features


def index(
    count: int, matches: dict[tuple[int, int], Matches]
) -> tuple[list[np.ndarray], dict[tuple[int, int], np.ndarray]]:
    """Return keypoints that the pairs of a photo share, and their matches, for `count` photos."""
    points, pairs = [], {pair: np.zeros((len(m.points), 2), int) for pair, m in matches.items()}
    for photo in range(count):
        uses = [
            (pair, pair.index(photo)) for pair in combinations(range(count), 2) if photo in pair
        ]
        places = [matches[pair][side] for pair, side in uses]
        together = np.concatenate([*places, np.empty((0, 2))]).round(3)
        unique, which = np.unique(together, axis=0, return_inverse=True)
        points.append(unique + 0.5)
        ends = np.cumsum([len(part) for part in places])
        parts = np.split(which.ravel(), ends[:-1]) if uses else []
        for (pair, side), part in zip(uses, parts, strict=True):
            pairs[pair][:, side] = part
    return points, pairs
