"""What the scripts share on the command line: flags, quiet libraries, one line for mistakes."""

import errno
import io
import math
import os
import re
import signal
import sys
import threading
import time
import warnings
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable
from dataclasses import fields
from importlib import import_module
from typing import Any, NoReturn, TypeVar

from safetensors import SafetensorError

from realfill.errors import UserError

T = TypeVar("T")
LARGEST_SEED = 2**63 - 1
SOMETHING_LEFT_OUT = 3
"""Exit code of a script that did what could be done and said what could not."""


def quiet_libraries() -> None:
    """Leave the screen to the script's own lines and its progress bar.

    Libraries that were not imported are left alone: not every script waits for them.
    """
    for library in ("diffusers", "transformers", "huggingface_hub"):
        if library in sys.modules:
            logging = import_module(f"{library}.utils.logging")
            logging.set_verbosity_error()
            if library != "huggingface_hub":
                logging.disable_progress_bar()
    warnings.filterwarnings("ignore", module="huggingface_hub")


class Parser(ArgumentParser):
    """A parser whose complaint is one line; `@FILE` stands for the flags in FILE."""

    def __init__(self, **options: Any) -> None:
        """Take the options of `ArgumentParser`."""
        options.setdefault("fromfile_prefix_chars", "@")
        super().__init__(**options)

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the command line, and exit with code 2."""
        stop(f"{message} (--help lists the flags)")


def make_parser(description: str) -> ArgumentParser:
    """Return a parser of a script's flags."""
    return Parser(description=description)


def collect(kind: type[T], arguments: Namespace) -> T:
    """Return the dataclass `kind` with the values of the flags that have its fields' names."""
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    return kind(**{name: getattr(arguments, name) for name in names})


def whole(least: int, most: int = 2**31 - 1) -> Callable[[str], int]:
    """Return the type of a flag that takes a whole number from `least` to `most`."""

    def whole_number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise ArgumentTypeError(f"invalid int value: {text!r}") from None
        if value < least:
            raise ArgumentTypeError(f"must be {least} or more")
        if value > most:
            raise ArgumentTypeError(f"must be {most} or less")
        return value

    return whole_number


def real(
    least: float = -math.inf, below: float = math.inf, above: float = -math.inf
) -> Callable[[str], float]:
    """Return the type of a flag that takes a finite number within these limits."""

    def finite_number(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise ArgumentTypeError(f"invalid float value: {text!r}") from None
        if not (math.isfinite(value) and least <= value < below and value > above):
            limits = ((least, "{:g} or more"), (above, "above {:g}"), (below, "below {:g}"))
            words = [word.format(limit) for limit, word in limits if math.isfinite(limit)]
            raise ArgumentTypeError(f"must be a number {' and '.join(words) or 'that is finite'}")
        return value

    return finite_number


def hide_secrets(*names: str) -> None:
    """Take the values of the flags `names` out of `sys.argv`, which experiment trackers upload."""
    for place, argument in enumerate(sys.argv):
        name = argument.split("=")[0].removeprefix("--")
        if name not in names:
            continue
        if "=" in argument:
            sys.argv[place] = f"--{name}=***"
        elif place + 1 < len(sys.argv):
            sys.argv[place + 1] = "***"
        print(
            f"--{name}: other users of this machine can read it; HF_TOKEN and WANDB_API_KEY in "
            "the environment are safer",
            file=sys.stderr,
        )


def is_main_process() -> bool:
    """Say whether this is the first process of the launch, or the only one."""
    return os.environ.get("RANK", "0") == "0"


def is_launched() -> bool:
    """Say whether `accelerate launch` or `torchrun` started this process."""
    return bool(os.environ.keys() & {"ACCELERATE_DYNAMO_BACKEND", "TORCHELASTIC_RUN_ID"})


def printable(text: str) -> str:
    """Return `text` with control characters, which a terminal would obey, as escapes."""
    return "".join(
        character
        if character == "\n" or character.isprintable() or character == "\t"
        else character.encode("unicode_escape", "surrogatepass").decode()
        for character in text
    )


def stop(message: str) -> NoReturn:
    """Print `message` on one line, once for all processes of the launch, and exit with code 2."""
    if is_main_process():
        line = printable(" ".join(message.split()))
        print(f"{os.path.basename(sys.argv[0])}: {line}", file=sys.stderr)
    sys.exit(2)


def run(main: Callable[[], None]) -> None:
    """Call `main` and turn what the user can cure into one line and exit code 2."""
    quiet_libraries()
    keep_writing()
    end_with_launcher()
    try:
        main()
        leave_process_group()
    except Exception as error:
        if not (line := explain(error)):
            raise
        stop(line)
    except KeyboardInterrupt:
        sys.exit(130)


def explain(error: Exception) -> str | None:
    """Return a line on what the user can cure; None for what is a fault of this program."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, (OSError, SafetensorError)):
        if is_disk_full(error):
            return (
                "the disk is full: free some space and start again; nothing was left half-written"
            )
        filename = getattr(error, "filename", None)
        place = f"{filename}: " if filename else ""
        reason = getattr(error, "strerror", None) or error
        return f"{place}{reason}; mend that and start again; nothing was left half-written"
    if isinstance(error, MemoryError):
        return "out of memory; nothing was left half-written"
    return None


class UnbreakableStream(io.FileIO):
    """A stream that goes on into the void when whoever read it has gone, as `| head -1` does."""

    def write(self, data: Any, /) -> int:
        """Write `data`, or forget it."""
        try:
            return super().write(data) or 0
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())
            return len(data)


def keep_writing() -> None:
    """Let no character and no closed pipe on stdout and stderr end the run."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not getattr(sys, f"__{name}__") or not isinstance(stream, io.TextIOWrapper):
            continue  # a test or a notebook has put its own there
        stream.flush()
        at_once = stream.line_buffering or stream.write_through  # the latter with PYTHONUNBUFFERED
        raw = UnbreakableStream(stream.fileno(), "w", closefd=False)
        setattr(
            sys,
            name,
            io.TextIOWrapper(
                io.BufferedWriter(raw),
                stream.encoding,
                errors="backslashreplace",
                line_buffering=at_once or name == "stderr",
            ),
        )


def end_with_launcher() -> None:
    """End this process when the launcher that waits for it is gone, however that ended.

    Only under `accelerate launch` and `torchrun`: a plain `python` outlives its terminal.
    """
    if not is_launched():
        return
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def leave_process_group() -> None:
    """Take leave of the other processes of the launch, if there are any."""
    distributed = sys.modules.get("torch.distributed")  # not all scripts need torch
    if distributed and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def is_disk_full(error: Exception) -> bool:
    """Say whether `error` came from a full disk, a spent quota, or a limit on file sizes."""
    # safetensors does its own I/O and puts the system's error number into its message.
    number = re.search(r"\(os error (\d+)\)", str(error))
    code = int(number[1]) if number else getattr(error, "errno", None)
    return code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
