"""U-IDS: how far a linear classifier fails to tell completions from truths.

python -m benchmark.u_ids --gt_path TRUTHS --mask_path mask.png --results_dir results

Here TRUTHS is a folder of truths. No mask is used.
"""

import warnings

import numpy as np

from benchmark.base import Score, Unavailable
from benchmark.inception import InceptionMetric
from realfill.errors import UserError


def separate(truths: np.ndarray, completions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a linear support vector machine's decisions, over 0 for what it takes for a truth.

    It is trained on the same features, `(photos, length)` each; both sets weigh the same. Raises
    `UserError` if a set has fewer than two photos, and `Unavailable` without scikit-learn.
    """
    if min(len(truths), len(completions)) < 2:
        raise UserError("a classifier of two sets needs two truths or more")
    try:
        from sklearn.svm import LinearSVC
    except ImportError:
        raise Unavailable(
            "scikit-learn is not installed: pip install -r requirements-benchmarks.txt"
        ) from None
    features = np.concatenate([truths, completions])
    labels = np.repeat([1, 0], [len(truths), len(completions)])
    machine = LinearSVC(dual=False, class_weight="balanced")  # type: ignore[arg-type]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on sets that cannot be told apart it may not settle
        machine.fit(features, labels)
    decisions = machine.decision_function(features)
    return decisions[: len(truths)], decisions[len(truths) :]


class UIds(InceptionMetric):
    """Unpaired inception discriminative score, from 0 (told apart) to 0.5; higher is better.

    Convention: the share of photos that a linear support vector machine on InceptionV3's 2048
    features puts on the wrong side, the mean of both sets' shares. Sources: Zhao et al. 2021
    (Co-Mod-GAN), whose sets are of equal size; scikit-learn's LinearSVC. With fewer photos than
    features any two sets can be told apart and it says nothing: it takes thousands.
    """

    scores = (Score("u_ids", "U-IDS", higher_is_better=True),)

    def distance(self, truths: np.ndarray, completions: np.ndarray, own: np.ndarray) -> float:
        """Return the score of two sets of features, `(photos, length)` each; see `separate`."""
        real, filled = separate(truths, completions)
        return float(((real <= 0).mean() + (filled > 0).mean()) / 2)


if __name__ == "__main__":
    from benchmark.suite.alone import run_alone

    run_alone("u_ids")
