"""Ranking completions from exemplars without knowing the truth."""

from dataclasses import dataclass

import numpy as np

from realfill.matching.evidence import consensus

EXPLANATION = "ranked by how well the pieces fit, and by nearness to the median of all"


@dataclass(frozen=True)
class Judged:
    """One completion's evidence."""

    label: str
    misfit: float
    """How badly its pieces fit each other and their surroundings; less is better."""
    consensus: float
    """1 less the root mean square difference to the median of all completions, of 255."""
    score: float
    """Completions that it is better than, on average over the two; more is better."""


def judge(
    images: dict[str, np.ndarray], misfits: dict[str, float], hole: np.ndarray
) -> list[Judged]:
    """Return the evidence of completions (uint8 `(H, W, 3)`), the best first.

    `hole` is bool `(H, W)`. Misfits and nearness to the median have no common unit, so their
    ranks are averaged; ties go to the lower index.
    """
    near = dict(zip(images, consensus(list(images.values()), hole), strict=True))
    judged = []
    for label in images:
        beaten = [misfits[other] > misfits[label] for other in images]
        beaten += [near[other] < near[label] for other in images]
        judged.append(Judged(label, misfits[label], near[label], sum(beaten) / 2))
    return sorted(judged, key=lambda each: (-each.score, int(each.label)))
