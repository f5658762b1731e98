"""P-IDS: how often a completion looks more like a truth than its own truth does.

python -m benchmark.p_ids --gt_path TRUTHS --mask_path mask.png --results_dir results

Here TRUTHS is a folder with as many truths as there are completions, in the same order. No mask is
used.
"""

import numpy as np

from benchmark.base import Score
from benchmark.inception import InceptionMetric
from benchmark.u_ids import separate
from realfill.errors import UserError


class PIds(InceptionMetric):
    """Paired inception discriminative score, from 0 (told apart) to 0.5; higher is better.

    Convention: the share of completions that the classifier of U-IDS takes for a truth more surely
    than their own truth; a tie counts half. Source: Zhao et al. 2021 (Co-Mod-GAN), where a tie
    counts nothing. With fewer photos than features it says nothing, as U-IDS does.
    """

    scores = (Score("p_ids", "P-IDS", higher_is_better=True),)

    def distance(self, truths: np.ndarray, completions: np.ndarray, own: np.ndarray) -> float:
        """Return the score of two sets of features, `(photos, length)` each; see `separate`."""
        if (own < 0).any():
            raise UserError("P-IDS pairs each completion with its truth; give as many truths")
        real, filled = separate(truths, completions)
        lead = filled - real[own]
        return float((lead > 0).mean() + (lead == 0).mean() / 2)


if __name__ == "__main__":
    from benchmark.suite.alone import run_alone

    run_alone("p_ids")
