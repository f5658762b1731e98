"""The contact sheet: what a person opens first to see what came out."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from PIL import Image, ImageChops, ImageDraw, ImageFont

from realfill.scene import Scene

if TYPE_CHECKING:
    from realfill.geometry.prefill import Prefill  # brings torch, which ranking does not need

SHEET = (1600, 1000)
"""Largest width and height in pixels: it fits a screen without scrolling."""
GAP, HEADING, CAPTION = 8, 56, 20
BACKGROUND, INK, FAINT, HOLE = "#16181d", "#f2f3f5", "#a9b0bb", (255, 0, 170)
MARK = "#39ff88"
SIDE_COLUMN = 300
MOST_REFERENCES = 12


def make_contact_sheet(
    scene: Scene,
    completions: dict[str, Image.Image],
    truth: Image.Image | None,
    best: str | None = None,
    prefill: "Prefill | None" = None,
    provenance: tuple[str, Image.Image] | None = None,
) -> Image.Image:
    """Draw the references, the target with its hole, the truth, and the labelled completions.

    The completion `best` is framed. With a prefill, what the references show of the hole and how
    sure that is stand next to them; with a provenance, in words and drawn, where the best one's
    pixels come from. Returns an RGB picture of at most 1600 x 1000 pixels.
    """
    width, height = SHEET
    sheet = Image.new("RGB", SHEET, BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, 10), scene.name, INK, font(26))
    count = len(scene.references)
    counts = f"{count} reference{'s' * (count > 1)}" if count else "no references given"
    draw.text((SIDE_COLUMN + 2 * GAP, 18), f"{len(completions)} completions", INK, font(18))
    said = f"from {counts}" + (f"; the hole is {provenance[0]}" if provenance else "")
    draw.text(
        (SIDE_COLUMN + 190, 18), shorten(said, width - SIDE_COLUMN - 200, 18), FAINT, font(18)
    )

    wanted = [("target, hole marked", mark_hole(scene.target, scene.mask))]
    if truth is not None:
        wanted.append(("truth", truth))
    if prefill is not None and prefill.confidence.getbbox():
        wanted.append(("from the references alone", prefill.image))
        wanted.append(("confidence", prefill.confidence.convert("RGB")))
    if provenance is not None:
        wanted.append(("where it comes from", provenance[1].convert("RGB")))
    references = [(f"reference {name}", image) for name, image in scene.references.items()]
    share = min(len(wanted), 3) / 4
    split = HEADING + round((height - HEADING) * share) + CAPTION
    draw_grid(sheet, wanted, (0, HEADING, SIDE_COLUMN + GAP, split))
    draw_grid(sheet, references[:MOST_REFERENCES], (0, split, SIDE_COLUMN + GAP, height))
    labelled = [
        (f"{label}: best", frame(image)) if label == best else (label, image)
        for label, image in completions.items()
    ]
    if len(completions) > 1 and len({image.tobytes() for image in completions.values()}) == 1:
        # The references show the whole hole: one large picture tells more than many small.
        labelled = [("all of them are this one", completions[next(iter(completions))])]
    draw_grid(sheet, labelled, (SIDE_COLUMN + GAP, HEADING, width, height))
    return trim(sheet)


def make_rounds_sheet(
    scene: Scene, rounds: Sequence[dict[str, Image.Image]], truth: Image.Image | None
) -> Image.Image:
    """Draw round one's completions beside round two's, each best first, and the best ones large.

    Returns an RGB picture of at most 1600 x 1000 pixels.
    """
    words, (width, height) = ("one", "two"), SHEET
    sheet = Image.new("RGB", SHEET, BACKGROUND)
    ImageDraw.Draw(sheet).text((GAP, 10), f"{scene.name}: round one, round two", INK, font(26))
    middle = HEADING + (height - HEADING) * 2 // 5
    large = [("target, hole marked", mark_hole(scene.target, scene.mask))]
    if truth is not None:
        large.append(("truth", truth))
    large += [
        (f"best of round {number}: {next(iter(completions))}", next(iter(completions.values())))
        for number, completions in zip(words, rounds, strict=True)
    ]
    draw_grid(sheet, large, (0, HEADING, width, middle))
    for half, completions in enumerate(rounds):
        box = (half * width // 2, middle, (half + 1) * width // 2, height)
        labelled = [(f"round {words[half]}: {name}", image) for name, image in completions.items()]
        draw_grid(sheet, labelled, box)
    return trim(sheet)


def draw_grid(
    sheet: Image.Image, items: Sequence[tuple[str, Image.Image]], box: tuple[int, int, int, int]
) -> None:
    """Draw captioned pictures into `box` (left, top, right, bottom), as large as they fit."""
    if not items:
        return
    left, top, right, bottom = box
    ratio = max(image.width / image.height for _, image in items)

    def cell_width(columns: int) -> float:
        rows = -(-len(items) // columns)
        by_width = (right - left) / columns - GAP
        by_height = ((bottom - top) / rows - GAP - CAPTION) * ratio
        return min(by_width, by_height)

    columns = max(range(1, len(items) + 1), key=cell_width)
    width = int(cell_width(columns))
    height = int(width / ratio)
    draw = ImageDraw.Draw(sheet)
    for place, (caption, image) in enumerate(items):
        x = left + GAP + place % columns * (width + GAP)
        y = top + place // columns * (height + CAPTION + GAP)
        draw.text((x, y), shorten(caption, width), FAINT, font(14))
        picture = image.copy()
        picture.thumbnail((width, height), Image.Resampling.LANCZOS)
        sheet.paste(picture, (x, y + CAPTION))


def frame(image: Image.Image) -> Image.Image:
    """Draw a frame over the border of an image."""
    framed = image.copy()
    ImageDraw.Draw(framed).rectangle((0, 0, *image.size), outline=MARK, width=max(image.size) // 50)
    return framed


def mark_hole(target: Image.Image, mask: Image.Image) -> Image.Image:
    """Return the target with its hole in a flat colour that no photo has."""
    return Image.composite(Image.new("RGB", target.size, HOLE), target, mask)


def shorten(caption: str, width: int, size: int = 14) -> str:
    """Cut `caption` to what fits into `width` pixels in a font of `size`."""
    while font(size).getlength(caption) > width and len(caption) > 4:
        caption = caption[:-2].rstrip("…") + "…"
    return caption


def font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    """Return Pillow's own font at `size` pixels."""
    return ImageFont.load_default(size)


def trim(sheet: Image.Image) -> Image.Image:
    """Cut off the empty margin at the right and below."""
    empty = Image.new("RGB", sheet.size, BACKGROUND)
    _, _, right, bottom = ImageChops.difference(sheet, empty).getbbox() or (0, 0, *sheet.size)
    return sheet.crop((0, 0, right + GAP, bottom + GAP))
