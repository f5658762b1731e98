"""status.html: how far the scenes are, with pictures, as one file that needs no network."""

from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Template

from realfill.errors import UserError
from realfill.images.read import read_mask, read_photo
from realfill.pages import data_address, environment, hide_hole, small_jpeg
from realfill.sampling.folder import BEST_FILE, file_name
from realfill.scene import find_image
from realfill.scenes.plan import COMPLETIONS, Plan, name_of
from realfill.scenes.progress import Outcome, Progress
from realfill.storage import write_text

THUMBNAIL = 240
"""Longest side of a picture in pixels."""
MOST_PICTURES = 100
"""The newest scenes have pictures: with thousands, the page would grow to a gigabyte."""
FILLS = {"model": "model", "exemplar": "exemplars", "canvas": "model beside a reference"}


def write_page(path: Path, plan: Plan, progress: Progress) -> None:
    """Write the page; it appears whole."""
    ended = progress.outcomes
    first = len(ended) - MOST_PICTURES
    rows = [describe(plan, outcome, place >= first) for place, outcome in enumerate(ended)]
    waiting = len(progress.scenes) - len(rows)
    write_text(path, template().render(line=progress.line(), rows=rows, waiting=waiting))


@cache
def template() -> Template:
    """Return the page's template."""
    return environment(Path(__file__).parent).get_template("status.html.j2")


def describe(plan: Plan, outcome: Outcome, shown: bool) -> dict[str, Any]:
    """Return what the page says of a scene, with its pictures if it is `shown`."""
    name = name_of(outcome.scene)
    row: dict[str, Any] = {"name": name, "fault": outcome.fault, "pictures": []}
    if outcome.record is None:
        return row
    sheet = f"{name}/{COMPLETIONS}/contact_sheet.png"
    row |= {"record": outcome.record, "fill": FILLS[outcome.record.fill], "sheet": sheet}
    if shown:
        row["pictures"] = list(draw(outcome.scene, plan.output_dir / name / COMPLETIONS))
    return row


@lru_cache(maxsize=MOST_PICTURES)
def draw(scene: Path, folder: Path) -> tuple[str, ...]:
    """Return the photo with its hole marked, and completed, as data addresses of small JPEGs.

    Nothing for photos that cannot be read.
    """
    try:
        photo, mask = (read(find_image(scene / "target", stem)) for stem, read in PARTS)
        best = folder / BEST_FILE
        completed = read_photo(best if best.exists() else folder / file_name(0))
    except UserError:
        return ()
    pictures = (hide_hole(photo, mask), completed)
    return tuple(data_address(small_jpeg(picture, THUMBNAIL)) for picture in pictures)


PARTS = (("target", read_photo), ("mask", read_mask))
