"""The picture of a ranking: the best completion beside its best reference, then all in order."""

from PIL import Image, ImageDraw

from realfill.matching.base import Matches
from realfill.matching.pairs import at_working_size
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

MOST_LINES = 150
"""More lines hide the photos."""


def make_ranking_sheet(
    completions: dict[str, Image.Image],
    references: dict[str, Image.Image],
    order: list[tuple[str, float]],
    explanation: str,
    counted: dict[str, Matches],
) -> Image.Image:
    """Draw completions in `order` (name and score), and lines from the best to its best reference.

    `counted` are the best completion's matches that count, by reference, at working size. Returns
    an RGB picture of at most 1600 x 1000 pixels.
    """
    width, height = SHEET
    sheet = Image.new("RGB", SHEET, BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, 10), f"best: {order[0][0]}", INK, font(26))
    draw.text((GAP + 260, 18), explanation, FAINT, font(18))
    reference = max(counted, key=lambda name: len(counted[name].points))
    pair = draw_pair(completions[order[0][0]], references[reference], counted[reference])
    lines = len(counted[reference].points)
    split = HEADING + (height - HEADING) // 2
    title = f"{order[0][0]} and reference {reference}: {lines} correspondences"
    draw_grid(sheet, [(title, pair)], (0, HEADING, width, split))
    places = [
        (f"{place}. {name}: {score}", completions[name])
        for place, (name, score) in enumerate(order, start=1)
    ]
    draw_grid(sheet, places, (0, split, width, height))
    return trim(sheet)


def draw_pair(completion: Image.Image, reference: Image.Image, matches: Matches) -> Image.Image:
    """Draw a completion beside a reference, at working size, with lines for the matches."""
    left, right = at_working_size(completion), at_working_size(reference)
    pair = Image.new("RGB", (left.width + right.width, max(left.height, right.height)), BACKGROUND)
    pair.paste(left, (0, 0))
    pair.paste(right, (left.width, 0))
    draw = ImageDraw.Draw(pair)
    step = max(1, -(-len(matches.points) // MOST_LINES))
    ends = zip(matches.points[::step], matches.reference_points[::step], strict=True)
    for (x, y), (reference_x, reference_y) in ends:
        draw.line((x, y, left.width + reference_x, reference_y), fill=MARK, width=1)
        draw.circle((x, y), 3, outline=MARK)
        draw.circle((left.width + reference_x, reference_y), 3, outline=MARK)
    return pair
