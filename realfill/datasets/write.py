"""Writing many scene folders: each appears whole, and a bad one does not stop the others."""

from collections.abc import Callable
from pathlib import Path

from realfill.command_line import is_disk_full, printable
from realfill.errors import UserError
from realfill.storage import put_folder

Recipe = Callable[[Path], None]
"""Writes a scene into the folder given, which is empty. Raises `UserError` if it cannot."""


def write_scenes(folder: Path, recipes: dict[str, Recipe]) -> list[str]:
    """Write a scene for each recipe, by name, into `folder`, whose lock must be held.

    Returns a line for each scene that could not be written. Raises OSError if the disk is full.
    """
    faults = []
    for name, recipe in recipes.items():
        try:
            write_scene(folder / name, recipe)
            print(printable(str(folder / name)))
        except UserError as error:
            faults.append(str(error))
        except OSError as error:
            if is_disk_full(error):
                raise
            faults.append(f"{folder / name}: could not be written ({error.strerror or error})")
    return faults


def write_scene(folder: Path, recipe: Recipe) -> None:
    """Write the scene `folder`, unless just this scene is there.

    Raises `UserError` if something else is there.
    """
    if not put_folder(folder, recipe):
        raise UserError(f"{folder}: holds another scene already; choose another --output_dir")
