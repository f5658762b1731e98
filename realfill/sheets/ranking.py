"""The picture of a ranking: the best completion beside its best reference, then all in order."""

import numpy as np
from PIL import Image, ImageDraw

from realfill.matching.base import Matches
from realfill.matching.pairs import at_matching_size
from realfill.sheets.contact import (
    BACKGROUND,
    FAINT,
    GAP,
    HEADING,
    INK,
    MARK,
    SHEET,
    draw_grid,
    font,
    trim,
)
from realfill.sheets.pair import draw_pair


def make_ranking_sheet(
    completions: dict[str, Image.Image],
    references: dict[str, Image.Image],
    order: list[tuple[str, float]],
    explanation: str,
    counted: dict[str, Matches],
) -> Image.Image:
    """Draw completions in `order` (name and score), and lines from the best to its best reference.

    `counted` are the best completion's matches that count, by reference, at matching size. Returns
    an RGB picture of at most 1600 x 1000 pixels.
    """
    width, height = SHEET
    sheet = Image.new("RGB", SHEET, BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, 10), f"best: {order[0][0]}", INK, font(26))
    draw.text((GAP + 260, 18), explanation, FAINT, font(18))
    reference = max(counted, key=lambda name: len(counted[name].points))
    ends = np.hstack([counted[reference].points, counted[reference].reference_points])
    best = at_matching_size(completions[order[0][0]])
    pair = draw_pair(best, at_matching_size(references[reference]), {MARK: ends})
    split = HEADING + (height - HEADING) // 2
    title = f"{order[0][0]} and reference {reference}: {len(ends)} correspondences"
    draw_grid(sheet, [(title, pair)], (0, HEADING, width, split))
    places = [
        (f"{place}. {name}: {score}", completions[name])
        for place, (name, score) in enumerate(order, start=1)
    ]
    draw_grid(sheet, places, (0, split, width, height))
    return trim(sheet)
