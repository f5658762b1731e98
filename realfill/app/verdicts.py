"""What is said of each reference: whether it is tied to the photo, and how much it shows."""

import html
import json
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from realfill.app.workspace import FILLED, LOOKED, mask_of, references_of, result_folder
from realfill.errors import UserError
from realfill.geometry.cameras import MOST_VIEWS
from realfill.geometry.files import RECORD
from realfill.geometry.views import View
from realfill.images.read import read_photo
from realfill.pages import data_address, small_jpeg

THUMBNAIL = 160
SPARE = 0.25
"""Of the matches that the used references have with the photo at least: a photo of another place
has fewer by chance."""
PLACES = 2000
"""Pixels of the hole that are looked up in a reference."""
MEDIAN_DEPTH = 1.0
"""The inverse depth at which they are: views have the median depth as their unit."""


def read_views(folder: Path) -> tuple[dict[str, View], dict[str, int]] | None:
    """Return the views that geometry found, and the matches with the photo, by reference.

    None if it did not look yet.
    """
    try:
        said = json.loads((folder / RECORD).read_text("utf-8"))
        views = {name: View.from_record(view) for name, view in said["views"].items()}
        return views, said.get("matches", {})  # records of earlier releases have none
    except (OSError, ValueError, KeyError, TypeError):
        return None


def share_seen(view: View, hole: np.ndarray) -> float:
    """Return which share of the hole, bool `(H, W)`, the view has in its picture, 0 to 1.

    What lies at another depth than the median may be seen or not.
    """
    rows, columns = np.nonzero(hole)
    chosen = np.linspace(0, len(rows) - 1, min(PLACES, len(rows))).astype(int)
    size = np.array(hole.shape[::-1])
    points = (np.stack([columns[chosen], rows[chosen]], 1) + 0.5) / size
    depths = torch.full((len(points),), MEDIAN_DEPTH)
    seen = view.project(torch.from_numpy(points).float(), depths).numpy()
    return float(((seen >= 0) & (seen <= 1)).all(1).mean())


def verdict(view: View | None, hole: np.ndarray, is_spare: bool = False) -> tuple[str, str]:
    """Return a word's colour class and a sentence on a reference that geometry looked at.

    A spare one matches the photo, but has no view as there are enough others.
    """
    if view is None and is_spare:
        return "beside", "not needed: it matches the photo, but others are nearer or match better"
    if view is None:
        return "apart", "not tied: too little of it matches the photo (another place or season?)"
    share = share_seen(view, hole)
    if share == 0:
        return "beside", "tied, but it does not show the hole"
    return "tied", f"tied: it has about {max(0.01, share):.0%} of the hole in view"


@lru_cache(maxsize=256)
def thumbnail(path: Path, _stamp: int) -> str:
    """Return the data address of a small picture of a photo, or nothing if it is damaged.

    It is drawn once for each content of the file, of which the time is the stamp.
    """
    try:
        return data_address(small_jpeg(read_photo(path), THUMBNAIL))
    except UserError:
        return ""


def cards(workspace: Path, name: str) -> str:
    """Return a page's part with a small picture of each reference and what is said of it."""
    mask = mask_of(workspace, name)
    folders = [result_folder(workspace, kind, name) for kind in (FILLED, LOOKED)]
    found = next((found for folder in folders if (found := read_views(folder)) is not None), None)
    parts = []
    for number, path in enumerate(references_of(workspace, name), start=1):
        address = thumbnail(path, path.stat().st_mtime_ns)
        kind, said = "waiting", "not looked at yet"
        if found is not None and mask is not None:
            views, matches = found
            least = SPARE * min((matches.get(name, 0) for name in views), default=0)
            spare = len(views) >= MOST_VIEWS and matches.get(path.name, 0) > least
            kind, said = verdict(views.get(path.name), np.asarray(mask) > 127, spare)
        parts.append(
            f'<figure class="{kind}"><img src="{address}" alt="photo {number}">'
            f"<figcaption><b>{number}</b> {html.escape(said)}</figcaption></figure>"
        )
    return f'<div class="cards">{"".join(parts)}</div>' if parts else ""
