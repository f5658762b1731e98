"""Adding the best completions to the references (RealFill, section 3.4)."""

import shutil
from pathlib import Path

from realfill.images.read import is_image
from realfill.scene import list_folder
from realfill.storage import appears_whole


def find_copies(completions: list[Path], references: Path) -> list[Path]:
    """Return the photos in the folder `references` that are copies of completions."""
    made = {path.read_bytes() for path in completions}
    return [path for path in photos_in(references) if path.read_bytes() in made]


def add_best(ranked: list[Path], references: Path, target_count: int) -> list[Path]:
    """Copy the best completions to `references` until it holds `target_count` photos.

    They are named by the next free numbers. What is there stays as it is, and a completion that
    is there already is not added again. Returns the new paths.
    """
    there = photos_in(references)
    contents = {path.read_bytes() for path in there}
    new = [path for path in ranked if path.read_bytes() not in contents]
    chosen = new[: max(0, target_count - len(there))]
    taken = [path.stem for path in list_folder(references)]  # also by what is no photo
    number = max((int(stem) for stem in taken if stem.isdecimal()), default=-1) + 1
    added = []
    for path in chosen:
        added.append(references / f"{number + len(added)}.png")
        with appears_whole(added[-1], new=True) as temporary:
            shutil.copyfile(path, temporary)
    return added


def photos_in(folder: Path) -> list[Path]:
    """Return the photos in a folder of references."""
    return [
        path
        for path in list_folder(folder)
        if path.is_file() and not path.name.startswith(".") and is_image(path)
    ]
