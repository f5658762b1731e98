"""The command `realfill`, for those who install the package: `realfill train --help`."""

import sys
from importlib import import_module

from realfill.command_line import make_parser, run

COMMANDS = ("complete", "train", "rank")


def choose() -> None:
    """Run the command that the first argument names."""
    sys.argv[0] = "realfill"  # for `python -m realfill`, and Windows
    parser = make_parser("RealFill: fill a photo with what was really there.")
    parser.add_argument("command", choices=COMMANDS, help="realfill COMMAND --help lists its flags")
    command = parser.parse_args(sys.argv[1:2]).command
    sys.argv[:2] = [f"realfill {command}"]
    import_module(f"realfill.commands.{command}").main()


def main() -> None:
    """Run a command; end with its exit code."""
    run(choose)


if __name__ == "__main__":
    main()
