"""Run a script in a process in which one of the renames that make files appear goes wrong.

Every file that the suite writes itself takes its place by a rename, `os.replace`, or by a link,
so that the n-th of them stands for the n-th artefact.
"""

import errno
import io
import os
import runpy
import signal
import sys
from contextlib import redirect_stderr, redirect_stdout, suppress
from multiprocessing import get_context
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
FAULTS = {"EIO": errno.EIO, "ENOSPC": errno.ENOSPC}
SERVER = get_context("forkserver")
SERVER.set_forkserver_preload(["tests.faults.preload"])


def run_with_fault(
    script: str, arguments: list[object], fault: str | None, number: int, counter
) -> None:
    """Run `script`; its rename `number` (from 1) fails with `fault`, or kills it for "SIGKILL"."""
    replace, link = os.replace, os.link

    def count(call):
        def counted(source, target, *more, **options):
            with counter.get_lock():
                counter.value += 1
                now = counter.value
            if fault and now == number:
                if fault == "SIGKILL":
                    os.kill(os.getpid(), signal.SIGKILL)
                raise OSError(FAULTS[fault], os.strerror(FAULTS[fault]), str(target))
            return call(source, target, *more, **options)

        return counted

    os.replace, os.link = count(replace), count(link)
    sys.argv = [script, *map(str, arguments)]
    os.chdir(ROOT)
    os.environ["HF_HUB_OFFLINE"] = "1"
    output = io.StringIO()
    with suppress(BrokenPipeError), redirect_stdout(output), redirect_stderr(output):
        runpy.run_path(str(ROOT / script), run_name="__main__")


def start(
    script: str, arguments: list[object], fault: str | None = None, number: int = 0
) -> tuple[int, int]:
    """Run `script`, return its exit code and how many renames it came to."""
    counter = SERVER.Value("i", 0)
    process = SERVER.Process(
        target=run_with_fault, args=(script, arguments, fault, number, counter)
    )
    process.start()
    process.join(120)
    if process.is_alive():
        process.kill()
        raise TimeoutError(f"{script} hangs")
    return process.exitcode, counter.value
