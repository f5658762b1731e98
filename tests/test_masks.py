"""The random masks of training."""

import torch

from realfill.training.masks import random_masks, random_rectangles


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_masks_are_binary_and_repeatable() -> None:
    masks = random_masks(50, 96, generator())
    assert masks.shape == (50, 1, 96, 96)
    assert set(masks.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(masks, random_masks(50, 96, generator()))
    assert not torch.equal(masks, random_masks(50, 96, generator(1)))


def test_half_are_inverted_and_the_margin_stays_untouched() -> None:
    masks = random_rectangles(2000, 100, generator())
    border = masks[:, 0, 0, 0]
    assert torch.equal(masks[:, 0, 0].amax(1), masks[:, 0, 0].amin(1))
    assert 0.46 < border.mean().item() < 0.54


def test_everything_is_masked_for_a_tenth() -> None:
    full = random_masks(3000, 32, generator()).flatten(1).amin(1)
    assert 0.08 < full.mean().item() < 0.12


def test_single_rectangles_have_the_paper_s_sides() -> None:
    masks = random_rectangles(4000, 200, generator())
    masks = torch.where(masks[:, :, :1, :1] > 0, 1 - masks, masks)[:, 0]
    rows, columns = masks.amax(2).sum(1), masks.amax(1).sum(1)
    single = masks.sum((1, 2)) == rows * columns
    heights = rows[single]
    assert single.sum() > 50
    assert heights.min() >= 0.03 * 200 - 1
    assert heights.max() <= 0.25 * 200 + 1
    assert masks.mean() > 0.1, "unions of up to 29 rectangles cover much more than one"
