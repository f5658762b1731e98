"""What the scripts share on the command line: flags, quiet libraries, one line for mistakes."""

import errno
import os
import re
import sys
import warnings
from argparse import ArgumentParser
from collections.abc import Callable
from importlib import import_module

from safetensors import SafetensorError

from realfill.errors import UserError


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


def make_parser(description: str) -> ArgumentParser:
    """Return a parser whose complaint is one line; `@FILE` stands for the flags in FILE."""
    parser = ArgumentParser(description=description, fromfile_prefix_chars="@")
    parser.error = lambda message: stop(f"{message} (--help lists the flags)")  # type: ignore
    return parser


def is_main_process() -> bool:
    """Say whether this is the first process of the launch, or the only one."""
    return os.environ.get("RANK", "0") == "0"


def stop(message: str) -> None:
    """Print `message` on one line, once for all processes of the launch, and exit with code 2."""
    if is_main_process():
        print(f"{os.path.basename(sys.argv[0])}: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)


def run(main: Callable[[], None]) -> None:
    """Call `main` and turn what the user can cure into one line and exit code 2."""
    quiet_libraries()
    try:
        main()
        leave_process_group()
    except UserError as error:
        stop(str(error))
    except (OSError, SafetensorError) as error:
        if is_disk_full(error):
            stop("the disk is full: free some space and start again; nothing was left half-written")
        raise
    except KeyboardInterrupt:
        sys.exit(130)


def leave_process_group() -> None:
    """Take leave of the other processes of the launch, where there are any."""
    distributed = sys.modules.get("torch.distributed")  # not all scripts need torch
    if distributed and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def is_disk_full(error: Exception) -> bool:
    """Say whether `error` came from a full disk, a spent quota, or a limit on file sizes."""
    # safetensors does its own I/O and puts the system's error number into its message.
    number = re.search(r"\(os error (\d+)\)", str(error))
    code = int(number[1]) if number else getattr(error, "errno", None)
    return code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
