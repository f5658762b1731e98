"""A folder of completions: 0.png, 1.png, … and what was made of them."""

from pathlib import Path
from typing import Any

from PIL import Image

from realfill.errors import UserError
from realfill.files import file_hash
from realfill.record import read_record
from realfill.seed_selection import RANKING_FILE, SHEET_FILE

BEST_FILE = "best.png"
PROVENANCE_FILE = "provenance.png"
PROVENANCE_FOLDER = "provenance"
"""Of completions that differ in it; the best one's is copied to provenance.png."""


def missing_completions(
    folder: Path, count: int, settings: dict[str, Any], overwrite: bool
) -> list[int]:
    """Return which of `count` completions are to be made in `folder`: all, to overwrite them.

    Raises `UserError` where there are some that were made with other `settings`.
    """
    if overwrite:
        return list(range(count))
    missing = [index for index in range(count) if not (folder / f"{index}.png").exists()]
    previous = read_record(folder)
    if len(missing) < count or previous:
        before = previous.get("settings", {})
        changed = [name for name, value in settings.items() if before.get(name) != value]
        if changed:
            raise UserError(
                f"{folder}: holds images made otherwise (another {', '.join(changed)}); choose "
                "another --output_dir, or replace them with --overwrite"
            )
    return missing


def remove_completions(folder: Path) -> None:
    """Remove the completions in `folder` and their ranking, so that no old one passes for new."""
    for path in folder.glob("*.png"):
        if path.stem.isdigit() or path.name in (BEST_FILE, SHEET_FILE, PROVENANCE_FILE):
            path.unlink()
    for path in (folder / PROVENANCE_FOLDER).glob("*.png"):
        path.unlink()
    (folder / RANKING_FILE).unlink(missing_ok=True)


LONG_SIDE = 1600
"""Pixels of the longer side to which completions are reduced to be compared and shown."""


def read_completions(folder: Path, count: int) -> dict[str, Image.Image]:
    """Return the first `count` completions in `folder` as RGB, by their number.

    They are reduced to a longer side of 1,600 px: sixteen large photos would fill the memory.
    """
    completions = {}
    for index in range(count):
        with Image.open(folder / f"{index}.png") as image:
            image.thumbnail((LONG_SIDE, LONG_SIDE), Image.Resampling.BOX)
            completions[str(index)] = image.convert("RGB")
    return completions


def identical_completions(folder: Path, count: int) -> list[list[str]]:
    """Return the groups of files among the first `count` completions that are byte for byte one."""
    groups: dict[str, list[str]] = {}
    for index in range(count):
        path = folder / f"{index}.png"
        groups.setdefault(file_hash(path), []).append(path.name)
    return [names for names in groups.values() if len(names) > 1]
