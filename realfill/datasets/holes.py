"""Random holes for making a benchmark of whole photos."""

from random import Random

from PIL import Image

MOST_BOXES = 3
BOX_SIDES = (0.2, 0.45)
"""Sides of a box, as shares of the photo's."""
BOX_MARGIN = 0.05
"""What stays known around all boxes, as a share of the photo's sides."""
WINDOW_SIDES = (0.5, 0.8)
"""Sides of what a border leaves, as shares of the photo's."""


def boxes(size: tuple[int, int], random: Random) -> Image.Image:
    """Draw one to three boxes to fill, apart from the photo's edges, for a photo of `size`.

    Returns a mask of mode L with 0 (known) and 255 (to fill).
    """
    mask = Image.new("L", size, 0)
    for _ in range(random.randint(1, MOST_BOXES)):
        mask.paste(255, rectangle(size, random, BOX_SIDES, BOX_MARGIN))
    return mask


def border(size: tuple[int, int], random: Random) -> Image.Image:
    """Draw a border to fill (outpainting) that leaves a window somewhere in a photo of `size`.

    Returns a mask of mode L with 0 (known) and 255 (to fill).
    """
    mask = Image.new("L", size, 255)
    mask.paste(0, rectangle(size, random, WINDOW_SIDES, margin=0))
    return mask


HOLES = {"boxes": boxes, "border": border}


def rectangle(
    size: tuple[int, int], random: Random, sides: tuple[float, float], margin: float
) -> tuple[int, int, int, int]:
    """Draw the left, upper, right and lower edge of a rectangle in a photo of `size`, in pixels."""
    starts, ends = [], []
    for side in size:
        length = random.uniform(*sides)
        start = random.uniform(margin, 1 - margin - length)
        starts.append(round(start * side))
        ends.append(round((start + length) * side))
    return (*starts, *ends)
