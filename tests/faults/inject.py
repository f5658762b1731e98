"""Run a script in a process in which one of the renames that make files appear goes wrong.

Every file that the suite writes itself takes its place by a rename, `os.replace`, or by a link,
so that the n-th of them stands for the n-th artefact.
"""

import errno
import io
import json
import os
import runpy
import signal
import sys
from contextlib import redirect_stderr, redirect_stdout, suppress
from itertools import count as count_from
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
FAULTS = {"EIO": errno.EIO, "ENOSPC": errno.ENOSPC}
LONGEST = 300
"""Seconds after which a run hangs."""
SERVER = get_context("forkserver")
SERVER.set_forkserver_preload(["tests.faults.preload"])


def run_with_fault(
    script: str, arguments: list[object], fault: str | None, number: int, targets: Connection
) -> None:
    """Run `script`; its rename `number` (from 1) fails with `fault`, or kills it for "SIGKILL".

    Sends what each rename makes to `targets`.
    """
    numbers = count_from(1)
    replace, link = os.replace, os.link

    def counted(call):
        def call_or_fail(source, target, *more, **options):
            targets.send(str(target))
            if next(numbers) == number and fault:
                if fault == "SIGKILL":
                    os.kill(os.getpid(), signal.SIGKILL)
                raise OSError(FAULTS[fault], os.strerror(FAULTS[fault]), str(target))
            return call(source, target, *more, **options)

        return call_or_fail

    os.replace, os.link = counted(replace), counted(link)
    sys.argv = [script, *map(str, arguments)]
    os.chdir(ROOT)
    os.environ["HF_HUB_OFFLINE"] = "1"
    output = io.StringIO()
    with suppress(BrokenPipeError), redirect_stdout(output), redirect_stderr(output):
        runpy.run_path(str(ROOT / script), run_name="__main__")


def start(
    script: str, arguments: list[object], fault: str | None = None, number: int = 0
) -> tuple[int, list[str]]:
    """Run `script`, return its exit code and what each of its renames made, in order."""
    receiver, sender = SERVER.Pipe(duplex=False)
    process = SERVER.Process(target=run_with_fault, args=(script, arguments, fault, number, sender))
    process.start()
    sender.close()
    process.join(LONGEST)
    if process.is_alive():
        process.kill()
        raise TimeoutError(f"{script} hangs")
    targets = []
    with suppress(EOFError), receiver:
        while True:
            targets.append(receiver.recv())
    return process.exitcode, targets


def comparable(path: Path, content: bytes) -> bytes:
    """Return what a file holds as bytes that are the same whenever it is the same.

    safetensors writes the metadata in its header in an order that chance decides.
    """
    if path.suffix != ".safetensors":
        return content
    start_of_tensors = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start_of_tensors])
    return json.dumps(header, sort_keys=True).encode() + content[start_of_tensors:]
