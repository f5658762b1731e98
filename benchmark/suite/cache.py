"""What was computed before, by the content of what it was computed from.

One SQLite file: several runs may use it at once, a run that is killed loses only what it had not
written yet, and neither leaves it damaged.
"""

import hashlib
import json
import sqlite3
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

FILE = "scores.sqlite"
WAIT_SECONDS = 60.0
AT_ONCE = 500
"""Keys a query; SQLite takes 999 in its oldest builds."""


def make_key(*parts: Any) -> str:
    """Return the key of what depends on `parts` (anything that JSON can hold) and on no more."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class Cache:
    """Values by their keys, in `folder`; in memory alone if it is None or cannot be used."""

    def __init__(self, folder: Path | None) -> None:
        """Open the file, or make it."""
        self.path = folder / FILE if folder else None
        try:
            if folder:
                folder.mkdir(parents=True, exist_ok=True)
            self.open(self.path or ":memory:")
        except (sqlite3.Error, OSError) as error:
            self.do_without(error)

    def open(self, place: Path | str) -> None:
        """Open the database at `place`."""
        self.file = sqlite3.connect(place, timeout=WAIT_SECONDS)
        self.file.execute(
            "CREATE TABLE IF NOT EXISTS entries (key TEXT PRIMARY KEY, value BLOB NOT NULL)"
        )

    def do_without(self, error: Exception) -> None:
        """Go on in memory: what is computed counts, it only is not kept."""
        print(
            f"{self.path}: cannot be used ({error}), so nothing is kept there; delete it, or "
            "choose another --cache_dir",
            file=sys.stderr,
        )
        self.open(":memory:")

    def read(self, keys: Iterable[str]) -> dict[str, bytes]:
        """Return the values of those `keys` that have one."""
        keys, found = list(keys), {}
        try:
            for start in range(0, len(keys), AT_ONCE):
                some = keys[start : start + AT_ONCE]
                marks = ",".join("?" * len(some))
                query = f"SELECT key, value FROM entries WHERE key IN ({marks})"
                found |= dict(self.file.execute(query, some))
        except sqlite3.Error as error:
            self.do_without(error)
        return found

    def write(self, values: dict[str, bytes]) -> None:
        """Keep `values`, all of them or, if the run is killed meanwhile, none."""
        try:
            self.insert(values)
        except sqlite3.Error as error:
            self.do_without(error)
            self.insert(values)

    def insert(self, values: dict[str, bytes]) -> None:
        """Write `values` into the database."""
        with self.file:
            self.file.executemany("INSERT OR REPLACE INTO entries VALUES (?, ?)", values.items())
