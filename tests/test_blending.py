"""Sizes, feathered masks and composites."""

import numpy as np
import pytest
from PIL import Image, ImageFilter

from realfill.images.blend import composite, feather, resize, shrink_mask, size_in_multiples
from tests.conftest import draw_photo


@pytest.mark.parametrize("size", [(768, 577), (577, 768), (1000, 1000), (4000, 1700), (300, 200)])
def test_the_size_keeps_the_shape(size: tuple[int, int]) -> None:
    width, height = size_in_multiples(size, 512, 8)
    assert width % 8 == height % 8 == 0
    assert min(width, height) == 512
    assert abs(width - 512 * size[0] / min(size)) <= 4
    assert abs(height - 512 * size[1] / min(size)) <= 4


def test_at_512_the_feather_is_one_pixel_of_growth_and_one_of_blur() -> None:
    mask = Image.new("L", (512, 512), 0)
    mask.paste(255, (100, 120, 300, 350))
    expected = mask.filter(ImageFilter.MaxFilter(3)).filter(ImageFilter.BoxBlur(1))
    assert np.array_equal(feather(mask), expected)


def test_the_feather_scales_with_the_photo() -> None:
    mask = Image.new("L", (2048, 2048), 0)
    mask.paste(255, (400, 400, 800, 800))
    assert feather(mask).getbbox() == (400 - 8, 400 - 8, 800 + 8, 800 + 8)


def test_outside_the_feathered_mask_every_byte_is_the_target_s() -> None:
    target = draw_photo(1, 700, 520)
    mask = Image.new("L", target.size, 0)
    mask.paste(255, (200, 100, 420, 300))
    blended = np.asarray(composite(Image.new("RGB", (350, 260), "red"), target, mask))
    assert blended.shape == (520, 700, 3)
    outside = np.asarray(feather(mask)) == 0
    assert np.array_equal(blended[outside], np.asarray(target)[outside])
    assert (blended[100:300, 200:420] == (255, 0, 0)).all()


def test_a_shrunken_mask_covers_all_that_the_hole_touches() -> None:
    mask = Image.new("L", (400, 400), 0)
    mask.paste(255, (101, 203, 105, 204))
    small = np.asarray(shrink_mask(mask, (100, 100)))
    assert np.argwhere(small).tolist() == [[50, 25], [50, 26]]


def test_shrinking_a_photo_mixes_nothing_from_further_away() -> None:
    photo = Image.new("RGB", (400, 400), "black")
    photo.paste("white", (200, 0, 400, 400))
    small = np.asarray(resize(photo, (100, 100)))
    assert (small[:, :50] == 0).all()
    assert (small[:, 50:] == 255).all()
