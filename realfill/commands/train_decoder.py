"""Train a decoder that sees the known pixels, for a base."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from realfill.command_line import collect, make_parser, real, whole


def build_parser() -> ArgumentParser:
    """Return the parser of the flags."""
    parser = make_parser("Train a decoder that sees the known pixels, for a base.")
    add_part_flags(parser)
    return parser


def add_part_flags(parser: ArgumentParser) -> None:
    """Add the flags that the training of every part for a base has."""
    add = parser.add_argument
    add("--photos", type=Path, required=True, help="folder of photos (.jpg, .png) to train on")
    add("--base", required=True, help="base to train for: folder or hub id")
    add("--output_dir", type=Path, required=True, help="folder for what is trained")
    add("--resolution", type=whole(8, 65536), help="side of the crops (default: the base's own)")
    add("--max_train_steps", type=whole(1), help="training ends after so many steps")
    add("--max_minutes", type=real(above=0), help="and after so many minutes, in all its runs")
    add("--train_batch_size", type=whole(2), default=16, help="(default: %(default)s)")
    add("--learning_rate", type=real(above=0), default=5e-4, help="(default: %(default)s)")
    add(
        "--held_out",
        type=whole(0),
        default=0,
        help="the last so many bsds-* are not trained on (default: %(default)s)",
    )


def parse_arguments(parser: ArgumentParser, argv: list[str] | None) -> Namespace:
    """Parse `argv`, or the command line."""
    arguments = parser.parse_args(argv)
    if not (arguments.max_train_steps or arguments.max_minutes):
        parser.error("give --max_train_steps or --max_minutes: when training ends")
    return arguments


def main(argv: list[str] | None = None) -> None:
    """Train and leave the decoder."""
    arguments = parse_arguments(build_parser(), argv)
    from realfill.photo_training.job import PartFlags, train_decoder  # seconds to import

    train_decoder(collect(PartFlags, arguments))
