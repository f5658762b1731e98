"""References of other weather: their colours brought to the target's, and how far to trust them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from realfill.geometry.calibration import evidence, fit_logistic, share_right
from realfill.geometry.colour_grid import Recolouring, fit_grid, recolour
from realfill.geometry.colours import apply_tone
from realfill.geometry.prefill import fit_colours
from realfill.geometry.rendering import Stage
from realfill.geometry.votes import box, pixel_grid

SIZE = 60, 80


def make_photo() -> Tensor:
    """Return coloured noise of several sizes, `(3, H, W)` in [0, 1]."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(1, 3, *SIZE, generator=generator)
    layers = [box(noise, side) / box(noise, side).std() for side in (3, 9, 27)]
    mixed = sum(layer - layer.mean() for layer in layers)[0]
    return (0.5 + 0.12 * mixed).clamp(0, 1)


def local_cast(photo: Tensor) -> Tensor:
    """Return the photo lit coolly on the left and warmly on the right."""
    across = torch.linspace(-1, 1, SIZE[1])
    tint = torch.tensor([-0.3, 0.0, 0.3]).view(3, 1, 1) * across
    return (photo * (1 + tint)).clamp(0, 1)


def make_stage(target: Tensor) -> Stage:
    """Return a target with a hole, and a band around that."""
    hole, wider = torch.zeros(2, *SIZE, dtype=torch.bool)
    hole[20:40, 48:66] = True
    wider[16:44, 44:70] = True
    return Stage(target, hole, wider & ~hole, ~wider, pixel_grid(SIZE), 4, {})


def test_a_local_cast_is_taken_off_in_the_hole() -> None:
    photo = make_photo()
    target = local_cast(photo)
    stage = make_stage(target)
    (change,) = fit_colours(photo[None], torch.ones(1, 1, *SIZE), stage)
    assert change.grid is not None
    local = (recolour(photo, change, stage.points) - target).abs().mean(0)
    plain = (apply_tone(photo, change.tone) - target).abs().mean(0)
    assert plain[stage.outside].mean() > 0.03
    assert local[stage.outside].mean() < 0.01
    assert plain[stage.hole].mean() > 0.03
    assert local[stage.hole].mean() < 0.015


def test_a_change_that_the_band_does_not_confirm_is_not_made() -> None:
    photo = make_photo()
    stage = make_stage(photo)
    target = torch.where(stage.outside, local_cast(photo), photo)
    (change,) = fit_colours(photo[None], torch.ones(1, 1, *SIZE), replace(stage, target=target))
    assert change.grid is None


def test_a_passer_by_does_not_colour_what_is_around_him() -> None:
    photo = make_photo()
    target, there = local_cast(photo), torch.zeros(SIZE, dtype=torch.bool)
    there[10:25, 10:25] = True
    damaged = torch.where(there, torch.tensor([0.9, 0.1, 0.1]).view(3, 1, 1), target)
    local = recoloured(photo, damaged, torch.ones(SIZE, dtype=torch.bool))
    error = (local - target).abs().mean(0)
    assert error[~there].mean() < 0.01
    assert error[there].mean() < 0.05


def test_the_change_goes_on_smoothly_where_nothing_is_known() -> None:
    photo = make_photo()
    target, known = (photo + 0.1).clamp(0, 1), torch.zeros(SIZE, dtype=torch.bool)
    assert torch.equal(recoloured(photo, target, known), photo)
    known[:, :20] = True
    assert (recoloured(photo, target, known) - target).abs().mean() < 0.01


@pytest.mark.parametrize("trusty", [True, False])
def test_the_band_says_how_far_to_trust_a_reference_that_looks_alone(trusty: bool) -> None:
    disagreement = torch.linspace(0, 0.1, 80).repeat(60, 1)
    wrong = disagreement > 0.05
    disagreement[:20], wrong[:20] = torch.nan, not trusty
    clues = evidence(disagreement, torch.full_like(disagreement, 0.1))
    share = share_right(clues, 0.2 * wrong, torch.ones_like(wrong))
    alone = disagreement.isnan()
    assert (share[alone] > 0.9).all() if trusty else (share[alone] < 0.1).all()
    assert share[~alone & ~wrong].mean() > 0.9


def recoloured(photo: Tensor, target: Tensor, known: Tensor) -> Tensor:
    """Return the photo through a grid fitted to what is known, without a tone curve."""
    points = pixel_grid(SIZE)
    corners = torch.stack([points[0, 0], points[-1, -1]])
    grid = fit_grid(photo, target, known, points, corners)
    identity = torch.cat([torch.zeros(1, 3), torch.eye(3), torch.zeros(3, 3)])
    return recolour(photo, Recolouring(identity, grid, corners), points)


def test_the_logistic_fit_is_that_of_scikit_learn() -> None:
    model = pytest.importorskip("sklearn.linear_model").LogisticRegression
    random, hold = torch.Generator().manual_seed(0), 0.01
    inputs = torch.randn(400, 4, generator=random).double()
    score = inputs @ torch.tensor([0.5, 2.0, -1.0, 0.0]).double()
    noise = torch.randn(400, generator=random)
    for right in (score + noise > 0, score > 0, score > 3):  # the second can be told apart
        found = fit_logistic(inputs, right.double(), torch.zeros(4).double(), hold)
        reference = model(C=1 / (hold * len(inputs)), fit_intercept=False, tol=1e-10)
        expected = reference.fit(inputs.numpy(), right.numpy()).coef_[0]
        assert np.allclose(found.numpy(), expected, atol=1e-4)
