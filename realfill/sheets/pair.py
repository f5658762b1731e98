"""Two photos side by side, with lines for their matches."""

import numpy as np
from PIL import Image, ImageDraw

from realfill.sheets.contact import BACKGROUND

MOST_LINES = 150
"""More lines hide the photos."""


def draw_pair(
    left: Image.Image, right: Image.Image, lines: dict[str, np.ndarray], width: int = 1
) -> Image.Image:
    """Draw two photos side by side, with lines for their matches by colour, the last on top.

    A line is x, y in the left photo and x, y in the right one, `(N, 4)`, in pixels.
    """
    pair = Image.new("RGB", (left.width + right.width, max(left.height, right.height)), BACKGROUND)
    pair.paste(left, (0, 0))
    pair.paste(right, (left.width, 0))
    draw = ImageDraw.Draw(pair)
    for colour, ends in lines.items():
        for x, y, its_x, its_y in ends[:: max(1, -(-len(ends) // MOST_LINES))].tolist():
            draw.line((x, y, left.width + its_x, its_y), fill=colour, width=width)
            draw.circle((x, y), 3, outline=colour, width=width)
            draw.circle((left.width + its_x, its_y), 3, outline=colour, width=width)
    return pair
