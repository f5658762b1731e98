"""realfill.json: what made the content of an output folder."""

import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from realfill.errors import UserError

RECORD_FILE = "realfill.json"
LIBRARIES = ("torch", "diffusers", "transformers", "peft", "accelerate", "safetensors")


def read_record(folder: Path) -> dict[str, Any]:
    """Read the `realfill.json` of `folder`, or return an empty record if there is none.

    Raises `UserError` if it is damaged.
    """
    path = folder / RECORD_FILE
    if not path.is_file():
        return {}
    try:
        return json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: damaged ({error}); delete it or make the folder anew") from None


def library_versions(names: tuple[str, ...] = LIBRARIES) -> dict[str, str]:
    """Return the versions of the libraries that decide what comes out."""
    versions = {}
    for name in names:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "unknown"
    return versions
