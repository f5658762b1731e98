"""A folder of completions: 0.png, 1.png, … and what was made of them."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from realfill.errors import UserError
from realfill.geometry.files import PICTURES, RECORD, REPORT
from realfill.images.read import read_photo
from realfill.ranking_file import RANKING_FILE, SHEET_FILE
from realfill.record import Record, claim, refuse_model, refuse_scene
from realfill.scene import list_folder
from realfill.storage import file_hash, remove, replaced_together

if TYPE_CHECKING:
    from accelerate import PartialState  # takes seconds to import, and ranking does not need it

BEST_FILE = "best.png"
CONTACT_SHEET = "contact_sheet.png"
SCRIPT = "infer.py"
PROVENANCE_FILE = "provenance.png"
PROVENANCE_FOLDER = "provenance"
"""Of completions that differ in it; the best one's is copied to provenance.png."""
OTHER_FILES = (
    BEST_FILE,
    CONTACT_SHEET,
    *PICTURES,
    RECORD,
    REPORT,
    PROVENANCE_FILE,
    PROVENANCE_FOLDER,
)
STAGE = ".overwriting.partial"
"""The folder of completions that replace those that are there when they are complete."""


def file_name(number: int) -> str:
    """Return the name of a completion's file."""
    return f"{number}.png"


def numbered(folder: Path) -> list[Path]:
    """Return 0.png, 1.png, … of `folder` in order; there may be gaps, or none at all."""
    found = [path for path in list_folder(folder) if re.fullmatch(r"\d+\.png", path.name)]
    return sorted(found, key=lambda path: int(path.stem))


def find_completions(folder: Path) -> list[Path]:
    """Return 0.png, 1.png, … of `folder` in order. Raises `UserError` if there are none."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give one that infer.py wrote completions to")
    if not (found := numbered(folder)):
        raise UserError(
            f"{folder}: no completions in it (0.png, 1.png, …); make some with infer.py"
        )
    return found


def read_completions(paths: list[Path], long_side: int | None = None) -> dict[str, Image.Image]:
    """Return completions as RGB by file name, reduced to a longer side of `long_side` pixels.

    Raises `UserError` if one cannot be read, or if they differ in size.
    """
    images = {}
    for path in paths:
        image = read_photo(path)
        if long_side is not None:
            image.thumbnail((long_side, long_side), Image.Resampling.BOX)
        images[path.name] = image
        first = images[paths[0].name]
        if image.size != first.size:
            raise UserError(
                f"{path}: is {image.width} x {image.height}, {paths[0].name} is {first.width} x "
                f"{first.height}; rank completions of one photo at a time"
            )
    return images


def claim_completions(folder: Path, count: int, scene: Path | None) -> list[str]:
    """Return the files that infer.py may write in `folder` for `count` completions.

    Raises `UserError` if one is there and not its own, or the folder is a scene's or a model's.
    """
    refuse_scene(folder, scene)
    refuse_model(folder)
    return claim(folder, SCRIPT, [*map(file_name, range(count)), *OTHER_FILES])


@contextmanager
def overwriting(
    folder: Path, overwrite: bool, state: "PartialState", script: str = SCRIPT
) -> Iterator[Path]:
    """Yield the folder to sample into: `folder`, or one whose files replace it at the end.

    So a run that breaks off leaves the completions that it was to replace, which `script` made.
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
        with replaced_together(folder, own_files(folder, script)) as temporary:
            for path in stage.iterdir():
                path.rename(temporary / path.name)
        remove(stage)
    state.wait_for_everyone()


def own_files(folder: Path, script: str = SCRIPT) -> set[str]:
    """Return the names of what `script` made in `folder`, and of its ranking."""
    record = Record.read(folder)
    if record.script != script:
        return set()
    files = record.files
    if files is None:
        files = [*(path.name for path in numbered(folder)), *OTHER_FILES]
    return {*files, RANKING_FILE, SHEET_FILE}


def missing_completions(
    folder: Path, count: int, settings: dict[str, Any], overwrite: bool
) -> list[int]:
    """Return which of `count` completions are missing in `folder`; all, to overwrite them.

    A damaged one is missing. Raises `UserError` if there are some that were made with other
    `settings`; a record alone, without completions, holds nobody up.
    """
    if overwrite:
        return list(range(count))
    missing = [index for index in range(count) if not is_whole(folder / file_name(index))]
    if numbered(folder):
        before = Record.read(folder).settings
        # What only one of them names was left out of the other: a decoder, a strength, a prior.
        names = settings | before
        changed = [name for name in names if before.get(name) != settings.get(name)]
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


def identical_completions(paths: list[Path]) -> list[list[str]]:
    """Return the groups of completions that are byte for byte one, by file name."""
    groups: dict[str, list[str]] = {}
    for path in paths:
        groups.setdefault(file_hash(path), []).append(path.name)
    return [names for names in groups.values() if len(names) > 1]
