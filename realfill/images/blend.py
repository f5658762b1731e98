"""Sizes, feathered masks and composites: plain image arithmetic, with no model in it."""

import cv2
import numpy as np
from PIL import Image, ImageFilter

FEATHER_SIDE = 512
"""The short side in pixels at which the mask is grown by one pixel and blurred by one."""


def size_in_multiples(size: tuple[int, int], short_side: float, multiple: int) -> tuple[int, int]:
    """Return the width and height nearest to `size`'s shape with the given short side.

    Both are multiples of `multiple`, so the shape is kept within half a multiple. The sampling size
    and the matching size are found so.
    """
    scale = short_side / min(size)
    width, height = (max(1, round(side * scale / multiple)) * multiple for side in size)
    return width, height


def resize(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resize a photo: area average down, so that no pixel sees past its own area; Lanczos up."""
    down = size[0] <= image.width and size[1] <= image.height
    return image.resize(size, Image.Resampling.BOX if down else Image.Resampling.LANCZOS)


def hole_of(mask: Image.Image) -> np.ndarray:
    """Return the hole, bool `(H, W)`: where a mask (L) is over 127."""
    return np.asarray(mask) > 127


def cut_mask(mask: Image.Image) -> Image.Image:
    """Return a mask (L) with 0 and 255 only: 255 where it is over 127."""
    return mask.point([0] * 128 + [255] * 128)


def scale_mask(mask: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Draw a mask (L) at another size, with 0 and 255 only; its edge keeps its place."""
    return cut_mask(mask.resize(size, Image.Resampling.BILINEAR))


def shrink_mask(mask: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resize a mask (L, 0 or 255) so that any pixel that a hole touches is hole."""
    # In floats: rounded to whole numbers, a speck in a large photo would vanish.
    share = np.asarray(mask.convert("F").resize(size, Image.Resampling.BOX))
    return Image.fromarray(np.where(share > 0, 255, 0).astype(np.uint8))


def feather_radius(size: tuple[int, int]) -> int:
    """Return the pixels to grow and blur the mask by at `size`: one at a short side of 512."""
    return max(1, round(min(size) / FEATHER_SIDE))


def grow(mask: Image.Image) -> Image.Image:
    """Grow a mask by the feather radius of its size."""
    width = 2 * feather_radius(mask.size) + 1
    # Pillow's filter does the same and takes 20 s for 24 megapixels.
    return Image.fromarray(cv2.dilate(np.asarray(mask), np.ones((width, width), np.uint8)))


def feather(mask: Image.Image) -> Image.Image:
    """Grow a mask (L, 0 or 255) and blur it: the completion's weight in the composite, of 255."""
    return grow(mask).filter(ImageFilter.BoxBlur(feather_radius(mask.size)))


def sampled_mask(mask: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return what a model fills at the sampling `size`: all that the grown mask touches."""
    return shrink_mask(grow(mask), size)


def changed_mask(mask: Image.Image) -> Image.Image:
    """Return which pixels of the target a composite changes: L, 0 or 255."""
    return feather(mask).point([0] + [255] * 255)


def composite(completion: Image.Image, target: Image.Image, mask: Image.Image) -> Image.Image:
    """Blend `completion` (RGB, any size) into `target` (RGB) where `mask` (L) is to be filled.

    The result has the target's size; outside the feathered mask it is the target, byte for byte.
    """
    return Image.composite(resize(completion, target.size), target, feather(mask))
