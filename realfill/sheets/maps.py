"""Figures of each pixel as pictures: one colour map, dark blue to bright yellow."""

import cv2
import numpy as np
from PIL import Image, ImageColor

NOTHING = "#4a4e57"
"""Where there is no figure."""
EDGE = "#ffffff"


def colours(values: np.ndarray) -> np.ndarray:
    """Return the colours of `values` `(H, W)` in [0, 1], uint8 `(H, W, 3)`; nan is grey."""
    steps = (np.nan_to_num(values).clip(0, 1) * 255).round().astype(np.uint8)
    # A table, since OpenCV crashes if it is given no value at all.
    table = cv2.applyColorMap(np.arange(256, dtype=np.uint8), cv2.COLORMAP_VIRIDIS)
    table = table.reshape(-1, 3)[:, ::-1]  # from BGR
    grey = np.array(ImageColor.getrgb(NOTHING), np.uint8)
    return np.where(np.isnan(values)[..., None], grey, table[steps])


def draw_map(values: np.ndarray) -> Image.Image:
    """Draw `values` `(H, W)`: blue is 0, yellow is 1, grey is nan."""
    return Image.fromarray(colours(values))


def outline(picture: Image.Image, region: np.ndarray, long_side: int) -> Image.Image:
    """Bring a picture to `long_side` pixels, and draw the edge of the bool `(H, W)` region."""
    scale = long_side / max(picture.size)
    width, height = (max(1, round(side * scale)) for side in picture.size)
    size = (width, height)
    large = np.array(picture.resize(size, Image.Resampling.BICUBIC))
    inside = cv2.resize(region.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    edge = cv2.dilate(inside, np.ones((3, 3), np.uint8), iterations=2) > inside
    large[edge] = ImageColor.getrgb(EDGE)
    return Image.fromarray(large)
