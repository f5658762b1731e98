"""Write docs/flags.md from the parsers of the scripts.

python -m scripts.write_flags
"""

import re
from argparse import SUPPRESS, ZERO_OR_MORE, Action, ArgumentParser, _SubParsersAction
from pathlib import Path

import app
import benchmarks
import complete_scenes
import make_scenes
import refill
from realfill.commands import (
    complete,
    new_view,
    rank,
    reposition,
    tokens,
    train,
    train_decoder,
    train_prior,
)
from realfill.storage import write_text

PARSERS = {
    "app.py": app.build_parser,
    "complete_scenes.py": complete_scenes.build_parser,
    "train_realfill.py": train.build_parser,
    "infer.py": complete.build_parser,
    "train_task_tokens.py": tokens.build_parser,
    "reposition.py": reposition.build_parser,
    "new_view.py": new_view.build_parser,
    "loftr_ranking.py": rank.build_parser,
    "train_decoder.py": train_decoder.build_parser,
    "train_prior.py": train_prior.build_parser,
    "refill.py": refill.build_parser,
    "benchmarks.py": benchmarks.build_parser,
    "make_scenes.py": make_scenes.build_parser,
}
PAGE = Path(__file__).parent.parent / "docs" / "flags.md"
INTRODUCTION = """\
# Flags

Names, meanings and folder layout are those of the implementations by thuanz123 and
eric15342335, so that commands written for them run unchanged. Flags can stand one a line in a file,
given as `@FILE`. `python -m scripts.write_flags` writes this page from the scripts' parsers.
"""
DEFAULT = re.compile(r"\s*\(?default: (.+?)\)?$")
"""What a help text says of the default, at its end: in brackets, or alone."""


def find_parsers(script: str, parser: ArgumentParser) -> dict[str, ArgumentParser]:
    """Return the parser of a script, or those of its subcommands, by what is typed."""
    for action in parser._actions:
        if isinstance(action, _SubParsersAction):
            return {f"{script} {name}": each for name, each in action.choices.items()}
    return {script: parser}


def describe(action: Action) -> tuple[str, str, str]:
    """Return a flag's spellings, what it means, and its default."""
    help_text = (action.help or "") % vars(action)
    words = DEFAULT.search(help_text)
    meaning = help_text[: words.start()] if words else help_text
    if action.choices:
        choices = ", ".join(f"`{choice}`" for choice in action.choices)
        meaning = f"{meaning}; one of {choices}" if meaning else f"one of {choices}"
    if action.required and action.nargs != ZERO_OR_MORE:
        default = "required"
    elif words:
        default = words[1]
    elif action.nargs == 0:
        default = "off"
    else:
        default = "none" if action.default in (None, "", []) else str(action.default)
    names = action.option_strings or [str(action.metavar or action.dest)]
    return ", ".join(f"`{name}`" for name in names), meaning, default


def make_table(parser: ArgumentParser) -> str:
    """Return the flags of a parser as a Markdown table."""
    rows = [("flag", "meaning", "default"), ("---", "---", "---")]
    rows += [describe(action) for action in parser._actions if action.default != SUPPRESS]
    return "".join(
        f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |\n" for row in rows
    )


def make_page() -> str:
    """Return the page with the flags of all scripts."""
    parts = [INTRODUCTION]
    for script, build_parser in PARSERS.items():
        for command, parser in find_parsers(script, build_parser()).items():
            parts.append(f"## `{command}`\n\n{parser.description}\n\n{make_table(parser)}")
    return "\n".join(parts)


if __name__ == "__main__":
    write_text(PAGE, make_page())
    print(f"wrote {PAGE}")
