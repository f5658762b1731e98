"""One launch at a time writes to a folder."""

import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from realfill.command_line import is_main_process
from realfill.errors import UserError
from realfill.storage import clear_partial_writes, finish_replacement, require_writable

LOCK_FILE = ".realfill.lock"


class Locked(UserError):
    """Another launch is writing to the folder."""


@contextmanager
def one_writer(folder: Path) -> Iterator[None]:
    """Hold the lock of `folder`, which is made if it is missing, for all processes of a launch.

    The main process takes the lock, clears away what a killed run was writing, and finishes what
    it had only left to rename. The others pass: their first barrier comes after this. The system
    drops the lock of a process that ends, however it ends. Raises `Locked` if another launch
    holds the lock, and `UserError` if nothing can be written there.
    """
    if not is_main_process():
        yield
        return
    require_writable(folder)
    path = folder / LOCK_FILE
    before = describe(path)
    try:
        lock = FileLock(path, mode=0o644)
        lock.acquire(timeout=0)
    except Timeout:
        raise Locked(
            f"{folder}: {before or 'another run'}, is writing there; wait for it, or "
            "choose another --output_dir"
        ) from None
    try:
        if before:
            print(f"{folder}: the lock of {before}, which is gone, was taken over", file=sys.stderr)
        owner = {"host": socket.gethostname(), "pid": os.getpid(), "started": time.ctime()}
        path.write_text(json.dumps(owner), "utf-8")
        clear_partial_writes(folder)
        finish_replacement(folder)
        yield
    finally:
        if os.name != "nt":  # there, no open file can be removed
            path.unlink(missing_ok=True)
        lock.release()
        if os.name == "nt":
            path.write_bytes(b"")


def describe(path: Path) -> str | None:
    """Say who wrote the lock file, or return None if nobody did or it cannot be read."""
    try:
        owner = json.loads(path.read_text("utf-8"))
        return f"process {owner['pid']} on {owner['host']}, started {owner['started']}"
    except (OSError, ValueError, KeyError, TypeError):
        return None
