"""A folder of completions: 0.png, 1.png, … and what was made of them."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from accelerate import PartialState
from PIL import Image

from realfill.errors import UserError
from realfill.images.read import read_photo
from realfill.record import (
    RANKING_FILE,
    SHEET_FILE,
    Record,
    claim,
    refuse_model,
    refuse_scene,
)
from realfill.storage import file_hash, remove, replaced_together

BEST_FILE = "best.png"
SCRIPT = "infer.py"
PROVENANCE_FILE = "provenance.png"
PROVENANCE_FOLDER = "provenance"
"""Of completions that differ in it; the best one's is copied to provenance.png."""
OTHER_FILES = (
    BEST_FILE,
    "contact_sheet.png",
    "prefill.png",
    "confidence.png",
    "cameras.json",
    PROVENANCE_FILE,
    PROVENANCE_FOLDER,
)
LONG_SIDE = 1600
"""Pixels of the longer side to which completions are reduced to be compared and shown."""
STAGE = ".overwriting.partial"
"""The folder of completions that replace those that are there when they are complete."""


def claim_completions(folder: Path, count: int, scene: Path | None) -> list[str]:
    """Return the files that infer.py may write in `folder` for `count` completions.

    Raises `UserError` if one is there and not its own, or the folder is a scene's or a model's.
    """
    refuse_scene(folder, scene)
    refuse_model(folder)
    return claim(folder, SCRIPT, [*(f"{index}.png" for index in range(count)), *OTHER_FILES])


@contextmanager
def overwriting(folder: Path, overwrite: bool, state: PartialState) -> Iterator[Path]:
    """Yield the folder to sample into: `folder`, or one whose files replace it at the end.

    So a run that breaks off leaves the completions that it was to replace.
    """
    if not overwrite:
        yield folder
        return
    stage = folder / STAGE
    state.wait_for_everyone()
    if state.is_main_process:
        remove(stage)
        stage.mkdir()
    state.wait_for_everyone()
    yield stage
    state.wait_for_everyone()
    if state.is_main_process:
        with replaced_together(folder, own_files(folder)) as temporary:
            for path in stage.iterdir():
                path.rename(temporary / path.name)
        remove(stage)
    state.wait_for_everyone()


def own_files(folder: Path) -> set[str]:
    """Return the names of what infer.py made in `folder`, and of its ranking."""
    record = Record.read(folder)
    if record.script != SCRIPT:
        return set()
    numbered = [path.name for path in folder.glob("*.png") if path.stem.isdecimal()]
    files = (*numbered, *OTHER_FILES) if record.files is None else record.files
    return {*files, RANKING_FILE, SHEET_FILE}


def missing_completions(
    folder: Path, count: int, settings: dict[str, Any], overwrite: bool
) -> list[int]:
    """Return which of `count` completions are to be made in `folder`: all, to overwrite them.

    A damaged one is missing. Raises `UserError` if there are some that were made with other
    `settings`; a record alone, without completions, holds nobody up.
    """
    if overwrite:
        return list(range(count))
    missing = [index for index in range(count) if not is_whole(folder / f"{index}.png")]
    if any(path.stem.isdecimal() for path in folder.glob("*.png")):
        before = Record.read(folder).settings
        changed = [name for name, value in settings.items() if before.get(name) != value]
        if changed:
            raise UserError(
                f"{folder}: holds images made otherwise (another {', '.join(changed)}); choose "
                "another --output_dir, or replace them with --overwrite"
            )
    return missing


def is_whole(path: Path) -> bool:
    """Say whether a completion is there and can be read; name a damaged one on a line."""
    if not path.exists():
        return False
    try:
        read_photo(path)
    except UserError as error:
        print(f"{error}; it is made anew", file=sys.stderr)
        return False
    return True


def read_completions(folder: Path, count: int) -> dict[str, Image.Image]:
    """Return the first `count` completions in `folder` as RGB, by their number.

    They are reduced to a longer side of 1,600 px: sixteen large photos would fill the memory.
    """
    completions = {}
    for index in range(count):
        image = read_photo(folder / f"{index}.png")
        image.thumbnail((LONG_SIDE, LONG_SIDE), Image.Resampling.BOX)
        completions[str(index)] = image
    return completions


def identical_completions(folder: Path, count: int) -> list[list[str]]:
    """Return the groups of files among the first `count` completions that are byte for byte one."""
    groups: dict[str, list[str]] = {}
    for index in range(count):
        path = folder / f"{index}.png"
        groups.setdefault(file_hash(path), []).append(path.name)
    return [names for names in groups.values() if len(names) > 1]
