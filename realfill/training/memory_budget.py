"""Training within a limit of memory: the savings are tried out, the cheapest first."""

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing import get_context

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType

from realfill.command_line import run
from realfill.devices import is_shortage
from realfill.errors import UserError
from realfill.model.base import first_line
from realfill.settings import TrainingFlags

SAVINGS = ("offload_idle_models", "gradient_checkpointing", "use_8bit_adam", "use_4bit_base")
"""Flags that save memory, in the order in which they are added."""
NEED_BITSANDBYTES = {"use_8bit_adam", "use_4bit_base"}
TRIAL_SHARE = 0.95
"""Share of the limit for a trial. The rest is for what comes later: encoded crops until their pool
is full, checkpoints, and memory in pieces too small to use."""
SHORTAGE_CODE = 3
"""Exit code of a trial that ran out of memory."""
ADVICE = (
    "use a smaller --train_batch_size with more --gradient_accumulation_steps, "
    "or a smaller --resolution"
)


def choose_savings(
    accelerator: Accelerator,
    flags: TrainingFlags,
    limit: float,
    attempt: Callable[[TrainingFlags], None],
) -> TrainingFlags:
    """Return `flags` with as few further savings as let `attempt(flags)` fit, and say so.

    What fits is found out by trying, each time in a new process, which leaves this one as it was.
    From then on `limit`, in GB, is in force here. Raises `UserError` if nothing fits, or no limit
    can be set.
    """
    device = accelerator.device
    possible = possible_savings(device)
    if accelerator.distributed_type != DistributedType.NO:
        raise UserError(
            f"--max_memory_gb is for a single process; choose yourself from {as_flags(possible)}"
        )
    further = [flag for flag in possible if not getattr(flags, flag)]
    for count in range(len(further) + 1):
        saving = replace(flags, **dict.fromkeys(further[:count], True))
        if fits_into_memory(attempt, saving, limit * TRIAL_SHARE, device):
            limit_memory(limit, device)
            print(f"memory: fits into {limit:g} GB with {as_flags(further[:count])}")
            return saving
    raise UserError(
        f"--max_memory_gb {limit:g}: training does not fit, tried to the last with "
        f"{as_flags(further)}; {ADVICE}"
    )


def as_flags(savings: list[str]) -> str:
    """Return `savings` as they are given on the command line."""
    return " ".join(f"--{flag}" for flag in savings) or "no further flag"


def possible_savings(device: torch.device) -> list[str]:
    """Return the savings that `device` and the installed packages are good for."""
    has_bitsandbytes = importlib.util.find_spec("bitsandbytes") is not None
    return [
        flag
        for flag in SAVINGS
        if flag not in NEED_BITSANDBYTES or (device.type == "cuda" and has_bitsandbytes)
    ]


def limit_memory(gigabytes: float, device: torch.device) -> None:
    """Make allocations over `gigabytes` (2^30 bytes) fail: torch's on a GPU, all on a CPU.

    Raises `UserError` if there is no way to.
    """
    size = int(gigabytes * 2**30)
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, size / total))
    elif device.type == "cpu" and sys.platform == "linux":
        import resource  # there is none on Windows

        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        size = size if most == resource.RLIM_INFINITY else min(size, most)
        resource.setrlimit(resource.RLIMIT_DATA, (size, most))
    else:
        raise UserError(
            "--max_memory_gb needs an NVIDIA GPU or Linux to hold a limit; leave the flag out and "
            f"choose yourself from {as_flags(possible_savings(device))}"
        )


def fits_into_memory(
    attempt: Callable[[TrainingFlags], None],
    flags: TrainingFlags,
    gigabytes: float,
    device: torch.device,
) -> bool:
    """Say whether `attempt(flags)` ends without running out of memory, in another process.

    Where it fails otherwise, the other process says why and this one ends with its exit code.
    """
    process = get_context("spawn").Process(
        target=try_within_limit, args=(attempt, flags, gigabytes, device)
    )
    # The child starts with the caller's folder on its path; a module there is not to be run.
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        process.start()
    finally:
        del os.environ["PYTHONSAFEPATH"]
    process.join()
    # A negative code is a signal: what is short of memory may also be killed or abort itself.
    code = process.exitcode
    if code is not None and code > 0 and code != SHORTAGE_CODE:
        sys.exit(code)
    return code == 0


def try_within_limit(
    attempt: Callable[[TrainingFlags], None],
    flags: TrainingFlags,
    gigabytes: float,
    device: torch.device,
) -> None:
    """Call `attempt(flags)` as a script's main; exit with a code of its own for shortage."""

    def main() -> None:
        limit_memory(gigabytes, device)
        try:
            attempt(flags)
        except Exception as error:
            if not is_shortage(error):
                raise
            sys.exit(SHORTAGE_CODE)

    run(main)


@contextmanager
def explain_shortage() -> Iterator[None]:
    """Raise `UserError` with advice if memory runs out."""
    try:
        yield
    except Exception as error:
        if not is_shortage(error):
            raise
        raise UserError(
            f"out of memory ({first_line(error)}): the last checkpoint is kept; {ADVICE}, or let "
            "--max_memory_gb choose what saves memory"
        ) from None
