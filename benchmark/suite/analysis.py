"""What follows from the numbers of the folders: averages, comparisons, filtering by rank.

A scene's number is the mean over its completions, a set's the mean over its scenes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmark.suite.scorer import Scored

SHARES = (1.0, 0.75, 0.5, 0.25)
"""The shares of the completions that filtering keeps, best ranked first."""
RESAMPLES = 10_000


@dataclass(frozen=True)
class Difference:
    """The second set's mean minus the first's, over the scenes that both have.

    `low` and `high` bound the 95% interval of a paired bootstrap over scenes; None for one scene.
    """

    first: float
    second: float
    difference: float
    low: float | None
    high: float | None
    scenes: int


def scene_means(folders: Sequence[Scored], score: str) -> dict[str, float]:
    """Return a score's mean by scene; a scene with several folders counts once."""
    found: dict[str, list[float]] = {}
    for result in folders:
        if (mean := result.mean(score)) is not None:
            found.setdefault(result.folder.scene, []).append(mean)
    return {scene: float(np.mean(means)) for scene, means in found.items()}


def compare(first: Sequence[Scored], second: Sequence[Scored], score: str) -> Difference | None:
    """Compare two sets by one score, or return None if they share no scene with it."""
    one, other = scene_means(first, score), scene_means(second, score)
    common = [scene for scene in one if scene in other]
    if not common:
        return None
    a = np.array([one[scene] for scene in common])
    b = np.array([other[scene] for scene in common])
    low, high = bootstrap(b - a) if len(common) > 1 else (None, None)
    return Difference(a.mean(), b.mean(), (b - a).mean(), low, high, len(common))


def bootstrap(differences: np.ndarray) -> tuple[float, float]:
    """Return the 95% percentile interval of the mean of `differences`, one for each scene."""
    random = np.random.default_rng(0)
    drawn = random.integers(len(differences), size=(RESAMPLES, len(differences)))
    low, high = np.percentile(differences[drawn].mean(1), [2.5, 97.5])
    return float(low), float(high)


def filtered(
    folders: Sequence[Scored], rankings: dict[str, list[str]], score: str
) -> list[float | None]:
    """Return a score's mean over scenes for each of `SHARES` of the best ranked completions.

    `rankings` gives the names of a folder's completions, best first, by the folder's name; folders
    without one do not count.
    """
    curve = []
    for share in SHARES:
        means = []
        for result in folders:
            names = rankings.get(result.folder.name, [])
            keep = max(1, round(share * len(names)))
            if (mean := result.mean(score, names[:keep])) is not None:
                means.append(mean)
        curve.append(float(np.mean(means)) if means else None)
    return curve
