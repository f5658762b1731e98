"""The images that metrics compare, each read once, at the resolution that is asked for.

The protocol of eric15342335/realfill, so that numbers compare: RGB in 8 bits, photos resized to
512 x 512 by OpenCV's bilinear interpolation, masks by nearest neighbour. A mask is hole where it
is over 127, as everywhere in the suite.
"""

from functools import cache, cached_property
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from realfill.errors import UserError
from realfill.images.read import (
    EXIF_ORIENTATION,
    opened,
    read_mask,
    read_photo,
)


class Photo:
    """An image file, decoded when it is first looked at."""

    def __init__(self, path: Path) -> None:
        """Name the file; nothing is read yet."""
        self.path = path
        self.pixels = cache(self._pixels)

    @cached_property
    def image(self) -> Image.Image:
        """The photo upright, RGB, at its own size. Raises `UserError` if it is damaged."""
        return read_photo(self.path)

    def _pixels(self, resolution: int | None) -> np.ndarray:
        """Return RGB uint8 `(resolution, resolution, 3)`, or at the photo's own size for None."""
        pixels = np.asarray(self.image)
        if resolution is None:
            return pixels
        return cv2.resize(pixels, (resolution, resolution), interpolation=cv2.INTER_LINEAR)


class Truth(Photo):
    """The truth of a scene with its mask."""

    def __init__(self, path: Path, mask_path: Path) -> None:
        """Name the files; nothing is read yet."""
        super().__init__(path)
        self.mask_path = mask_path
        self.hole = cache(self._hole)

    def _hole(self, resolution: int | None) -> np.ndarray:
        """Return where the hole is, bool `(height, width)`. Raises `UserError` if it is nowhere."""
        mask = np.asarray(read_mask(self.mask_path))
        if resolution is not None:
            size = (resolution, resolution)
            mask = cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST)
        elif mask.shape[::-1] != self.image.size:
            raise UserError(f"{self.mask_path}: the mask's size is not the truth's")
        hole = mask > 127
        if not hole.any():
            where = "" if resolution is None else f" at {resolution} x {resolution}"
            raise UserError(f"{self.mask_path}: the mask marks no pixel{where}")
        return hole


def upright_size(path: Path) -> tuple[int, int] | None:
    """Return the width and height that `path` has upright, from its header, or None."""
    try:
        with opened(path) as image:
            # Pillow decodes a PNG to look for EXIF data behind its pixels; few have any.
            if image.format == "PNG" and "exif" not in image.info:
                return image.size
            turned = image.getexif().get(EXIF_ORIENTATION, 1) in (5, 6, 7, 8)
            return (image.height, image.width) if turned else image.size
    except UserError:
        return None
