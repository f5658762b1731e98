"""How far to trust each pixel of a prefill, learned from the withheld band of the same scene."""

import torch
import torch.nn.functional as F
from torch import Tensor

RIGHT = 0.1
"""Mean absolute colour error, of 1, under which a pixel counts as right."""
WANTED = 0.8
"""Share of right pixels at which they are called known."""
MOST_SAMPLES = 2000
"""Neighbouring pixels err alike: more of them than this do not make a fit surer."""
PRIOR = 5.0
"""Holds the logistic fit near the share of right pixels in the band, in samples."""
MOST_STEPS, SMALLEST_STEP = 50, 1e-9
"""Of that fit."""


def evidence(disagreement: Tensor, cost: Tensor) -> Tensor:
    """Return `(3, H, W)`: disagreement in colour, what the depth's vote cost, one if unconfirmed.

    Where one reference looks alone, or nobody voted, a middling figure stands for either of the
    first two. How right a lone reference is differs from scene to scene: the third can tell.
    """
    alone = disagreement.isnan().float()
    return torch.stack([disagreement.nan_to_num(0.05), cost.nan_to_num(0.25), alone])


def expected_error(clues: Tensor, error: Tensor, region: Tensor) -> Tensor:
    """Return the error to expect at each pixel, `(H, W)`.

    A line that rises with the doubt, by least squares over `region`, where the error is known.
    """
    doubt = clues[0] + 0.1 * clues[1]
    doubts, errors = doubt[region], error[region]
    spread_out = doubts - doubts.mean()
    slope = (spread_out * errors).sum() / spread_out.square().sum().clamp_min(1e-6)
    return (errors.mean() + slope.clamp_min(0) * (doubt - doubts.mean())).clamp_min(0)


def share_right(clues: Tensor, error: Tensor, region: Tensor) -> Tensor:
    """Return the share of pixels like each, `(H, W)` in [0, 1], whose error is under `RIGHT`.

    Logistic regression on the clues `(C, H, W)` over `region`, with a prior on the slopes.
    """
    known = clues[:, region].double()
    middle, scale = known.mean(1, keepdim=True), known.std(1, correction=0, keepdim=True) + 1e-6
    inputs, right = ((known - middle) / scale).T, (error[region] < RIGHT).double()
    inputs = torch.cat([torch.ones_like(inputs[:, :1]), inputs], 1)
    start = torch.zeros_like(inputs[0])
    start[0] = torch.logit(right.mean().clamp(0.01, 0.99))
    base, *slopes = fit_logistic(inputs, right, start, PRIOR / min(MOST_SAMPLES, len(right)))
    terms = (clues.flatten(1) - middle) / scale
    return torch.sigmoid(torch.stack(slopes) @ terms + base).float().reshape(region.shape)


def fit_logistic(inputs: Tensor, right: Tensor, start: Tensor, hold: float) -> Tensor:
    """Return the weights `(C,)` of a logistic regression of `right` `(N,)` on `inputs` `(N, C)`.

    By Newton's method; `hold` keeps them near `start`. torch's optimizers take seconds to import.
    """

    def loss(weights: Tensor) -> Tensor:
        misfit = F.binary_cross_entropy_with_logits(inputs @ weights, right)
        return misfit + hold * (weights - start).square().sum() / 2

    weights, least = start, loss(start)
    for _ in range(MOST_STEPS):
        share = torch.sigmoid(inputs @ weights)
        slope = inputs.T @ (share - right) / len(right) + hold * (weights - start)
        bent = (inputs.T * (share * (1 - share))) @ inputs / len(right)
        step = torch.linalg.solve(bent + hold * torch.eye(len(start)).to(bent), slope)
        while (now := loss(weights - step)) > least and step.abs().max() > SMALLEST_STEP:
            step = step / 2
        weights, least = weights - step, now
        if step.abs().max() <= SMALLEST_STEP:
            break
    return weights


def limit(share: Tensor, known: float) -> Tensor:
    """Return the highest confidence that a share of right pixels allows, in [0, 1].

    It rises straight to 1 and is `known` at a share of `WANTED`.
    """
    return (1 - (1 - share) * (1 - known) / (1 - WANTED)).clamp(0, 1)
