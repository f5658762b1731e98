"""Bringing the references' colours to the target's, and making one picture of them."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from realfill.geometry.votes import best_half, box

ROUNDS = 10
"""Rounds of reweighting in a robust fit."""
UNCONFIRMED = 0.1
"""Disagreement, of 1, that a reference is taken to have where it looks alone; the most that
distance adds."""
DISTANCE_COST = 0.02
"""Disagreement that weighs as much as standing as far again from the target as the nearest."""
SHARPNESS = 0.01
"""Difference in cost, of 1, at which a reference weighs e times less than another."""
TOLERANCE = 0.05
"""Colour error, of 1, beyond which a pixel counts less and less in a robust fit."""


def tone_terms(colours: Tensor) -> Tensor:
    """Return `(N, 7)` terms of a quadratic tone curve with mixed channels, of `(N, 3)` colours."""
    return torch.cat([torch.ones_like(colours[:, :1]), colours, colours.square()], 1)


def fit_tone(photo: Tensor, target: Tensor, common: Tensor) -> Tensor:
    """Return the curve `(7, 3)` that brings `photo` `(3, H, W)`, in [0, 1], to the target's tone.

    A quadratic with mixed channels is fitted where both see the known region (`common`, bool
    `(H, W)`), by least squares reweighted against what does not fit, and held near the identity.
    """
    terms, wanted = tone_terms(photo[:, common].T), target[:, common].T
    identity = torch.cat([torch.zeros(1, 3), torch.eye(3), torch.zeros(3, 3)]).to(photo)
    prior = (1 + 0.003 * len(terms)) * torch.eye(7).to(photo)
    curve, weights = identity, torch.ones(len(terms), 1).to(photo)
    for _ in range(ROUNDS):
        weighted = terms * weights
        curve = torch.linalg.solve(
            weighted.T @ terms + prior, weighted.T @ wanted + prior @ identity
        )
        errors = (terms @ curve - wanted).square().sum(1, keepdim=True)
        weights = 1 / (1 + errors / TOLERANCE**2)
    return curve


def apply_tone(photo: Tensor, curve: Tensor) -> Tensor:
    """Return `photo` `(3, H, W)` through a curve of `fit_tone`, in [0, 1]."""
    return (tone_terms(photo.flatten(1).T) @ curve).T.reshape(photo.shape).clamp(0, 1)


def disagreement(photos: Tensor, inside: Tensor) -> Tensor:
    """Return how far each of `(N, 3, H, W)` photos is from its nearest fellows, `(N, 1, H, W)`.

    The mean absolute colour difference in a window, averaged over the better half of the other
    photos that see the pixel (`inside`, `(N, 1, H, W)`, 0 or 1); nan where no other does.
    """
    scores = []
    for index, photo in enumerate(photos):
        differences = []
        for other, fellow in enumerate(photos):
            if other != index:
                difference = box((photo - fellow).abs().mean(0, keepdim=True)[None])
                both = inside[index] * inside[other] > 0
                differences.append(torch.where(both, difference, torch.nan))
        scores.append(
            best_half(differences)[0] if differences else torch.full_like(inside[0], torch.nan)
        )
    return torch.stack(scores)


def fuse(photos: Tensor, inside: Tensor, distances: list[float]) -> tuple[Tensor, Tensor]:
    """Make one picture of `(N, 3, H, W)` photos: `(3, H, W)`, and its disagreement `(H, W)`.

    At each pixel the photos weigh in by how well others confirm them, and the nearer camera
    (`distances`, of any unit) before the farther one. Where nobody looks the picture is nan.
    """
    scores = disagreement(photos, inside)
    nearest = min(distances)
    bias = photos.new_tensor(
        [DISTANCE_COST * (d / nearest - 1) if nearest else 0.0 for d in distances]
    )
    cost = torch.nan_to_num(scores, UNCONFIRMED) + bias.clamp(max=UNCONFIRMED).view(-1, 1, 1, 1)
    cost = torch.where(inside > 0, cost, torch.inf)
    weights = torch.softmax(-cost / SHARPNESS, 0)
    seen = (inside > 0).any(0)
    picture = torch.where(seen, (photos * weights.nan_to_num(0)).sum(0), torch.nan)
    chosen = (torch.nan_to_num(scores, 0.0) * weights.nan_to_num(0)).sum(0)
    confirmed = (inside > 0).sum(0) > 1
    return picture, torch.where(confirmed, chosen, torch.nan)[0]


def spread(values: Tensor, weights: Tensor) -> Tensor:
    """Continue `(C, H, W)` values smoothly from where `weights` `(1, H, W)` are to everywhere.

    Push and pull: averages over ever larger squares, the finest that knows anything wins.
    """
    height, width = values.shape[1:]
    weighted = torch.cat([values * weights, weights])[None]
    result = torch.zeros_like(values)[None]
    for level in range(math.ceil(math.log2(max(height, width))), -1, -1):
        size = [max(1, math.ceil(side / 2**level)) for side in (height, width)]
        small = F.interpolate(weighted, size=size, mode="area") if level else weighted
        share = small[:, -1:] * 4**level
        found = small[:, :-1] / small[:, -1:].clamp_min(1e-12)
        coarser = F.interpolate(result, size=size, mode="bilinear", align_corners=False)
        trust = share / (share + 1)
        result = trust * found + (1 - trust) * coarser
    return result[0]
