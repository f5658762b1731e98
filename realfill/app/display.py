"""What the page shows of a scene at a moment: status, pictures, and what can be taken away."""

import html
import time
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from realfill.app.jobs import Queue, Work, as_typed
from realfill.app.painting import preview
from realfill.app.workspace import (
    FILLED,
    LOOKED,
    TRAINED,
    mask_of,
    model_folder,
    photo_of,
    result_folder,
)
from realfill.images.blend import composite
from realfill.images.read import read_photo
from realfill.pages import hide_hole
from realfill.ranking_file import RANKING_FILE, read_ranking
from realfill.record import VALIDATIONS
from realfill.sampling.folder import BEST_FILE, PROVENANCE_FILE, numbered
from realfill.scenes.progress import in_words

FADED = 0.55
"""How much of the overlay's colours is seen over the picture."""


@dataclass(frozen=True)
class Shown:
    """The pictures of one kind of result."""

    best: Path | None
    """The completed photo at full size."""
    files: tuple[Path, ...]
    """All completions, the best first."""
    stamp: float
    """Changes if the files do."""


def status(queue: Queue, name: str) -> str:
    """Return the part of the page that says what is being done for a scene."""
    work = queue.latest(name) if name else None
    if work is None:
        return ""
    text, share = sentence(queue, work)
    bar = ""
    if not work.ended:
        value = "" if share is None else f' value="{share:.3f}"'
        bar = f"<progress max=1{value}></progress>"
    typed = "<br>".join(html.escape(as_typed(command)) for command in work.commands)
    command = f"<details><summary>The command that does the same</summary><code>{typed}</code>"
    said = f'<p role="status" class="{work.state}">{html.escape(text)}</p>'
    return said + bar + command + "</details>"


def sentence(queue: Queue, work: Work) -> tuple[str, float | None]:
    """Return what is being done, as a sentence, and how much of it is done."""
    if work.state == "waiting":
        place = queue.place(work) + 1
        ordinal = {1: "1st", 2: "2nd", 3: "3rd"}.get(place, f"{place}th")
        return f"{work.title}: {ordinal} in line, behind other scenes.", None
    if work.state == "running":
        seconds = time.monotonic() - work.started
        return f"{work.title} ({seconds:.0f} s): {work.stage or 'loading the program'}", work.share
    if work.state == "cancelled":
        return f"{work.title}: cancelled. What was finished is kept; go on whenever you like.", None
    if work.state == "failed":
        return work.stage, None
    return f"{work.title}: done.", None


def shown(workspace: Path, kind: str, name: str) -> Shown:
    """Return the completions of one kind that are there."""
    folder = result_folder(workspace, kind, name)
    files = numbered(folder) if folder.is_dir() else []
    if not files:
        return Shown(None, (), 0.0)
    best = folder / BEST_FILE
    ranking = folder / RANKING_FILE
    if best.exists() and ranking.exists():
        order = list(read_ranking(ranking))
        files.sort(key=lambda path: order.index(path.name) if path.name in order else len(order))
    stamp = max(path.stat().st_mtime for path in [*files, *([best] if best.exists() else [])])
    return Shown(best if best.exists() else files[0], tuple(files), stamp)


def filled(workspace: Path, name: str) -> Shown:
    """Return what the references have filled; what geometry alone shows while there is no more."""
    more = shown(workspace, FILLED, name)
    return more if more.files else shown(workspace, LOOKED, name)


def before_and_after(
    workspace: Path, name: str, best: Path, overlay: bool
) -> tuple[Image.Image, Image.Image]:
    """Return previews of the photo with its hole in one colour, and of the completed one.

    With `overlay`, the origin of each filled pixel is laid over it in a colour.
    """
    photo, mask = photo_of(workspace, name), mask_of(workspace, name)
    after = read_photo(best)
    assert mask is not None  # there is a result
    origins = best.parent / PROVENANCE_FILE
    if overlay and origins.exists():
        drawn = read_photo(origins).resize(after.size, Image.Resampling.NEAREST)
        after = composite(Image.blend(after, drawn, FADED), after, mask)
    return preview(hide_hole(photo, mask)), preview(after)


def two_completions(first: Path, second: Path) -> tuple[Image.Image, Image.Image]:
    """Return previews of two completions."""
    return preview(read_photo(first)), preview(read_photo(second))


def newest_validation(workspace: Path, name: str) -> str | None:
    """Return the path of what a model made last while it was being trained, if there is any."""
    folder = model_folder(workspace, name) / VALIDATIONS
    pictures = list(folder.glob("step-*.png")) if folder.is_dir() else []
    return str(max(pictures, key=lambda path: path.stat().st_mtime)) if pictures else None


def duration(pace: float | None, steps: int) -> str:
    """Return how long training takes, as a sentence, if a step takes `pace` seconds."""
    if pace is None:
        return "How long it takes will show once it has begun."
    said = in_words(pace * steps)
    return f"{steps} steps take about {said} on this machine; then the completions are made."


def resumable(workspace: Path, name: str) -> bool:
    """Say whether training was begun on the scene and is not finished."""
    folder = model_folder(workspace, name)
    return folder.is_dir() and not shown(workspace, TRAINED, name).files
