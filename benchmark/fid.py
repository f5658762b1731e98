"""FID of a set of completions against the truths of their scenes.

python -m benchmark.fid --gt_path TRUTHS --mask_path mask.png --results_dir results

Here TRUTHS is a folder of truths: a distance between sets needs more than one. No mask is used.
"""

import numpy as np

from benchmark.base import Score
from benchmark.inception import InceptionMetric
from realfill.errors import UserError


class Fid(InceptionMetric):
    """Fréchet inception distance between all completions and all truths of a set; lower is better.

    Convention: the whole photos, InceptionV3's 2048 pooled features as torch-fidelity computes
    them. With tens of truths it is far above its value in the limit: compare it only between sets
    of the same scenes. Sources: Heusel et al. 2017; torch-fidelity. Not in RealFill's Table 1.
    """

    scores = (Score("fid", "FID", higher_is_better=False, digits=1),)

    def distance(self, truths: np.ndarray, completions: np.ndarray, own: np.ndarray) -> float:
        """Return the Fréchet distance between two sets of features, `(photos, length)` each.

        |m1 - m2|² + tr(S1) + tr(S2) - 2 tr((S1 S2)^½). The last trace is the sum of the singular
        values of the sets' centred product, which has the size of the sets and not of the features.
        Raises `UserError` if a set has fewer than two photos.
        """
        if min(len(truths), len(completions)) < 2:
            raise UserError("FID compares two sets and needs two truths or more")
        means = truths.mean(0), completions.mean(0)
        first = (truths - means[0]) / np.sqrt(len(truths) - 1)
        second = (completions - means[1]) / np.sqrt(len(completions) - 1)
        common = np.linalg.svd(first @ second.T, compute_uv=False).sum()
        shift = ((means[0] - means[1]) ** 2).sum()
        return float(shift + (first**2).sum() + (second**2).sum() - 2 * common)


if __name__ == "__main__":
    from benchmark.suite.alone import run_alone

    run_alone("fid")
