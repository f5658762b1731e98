"""Train the aligner of a reconstruction prior, for a base."""

from argparse import ArgumentParser

from realfill.command_line import collect, make_parser
from realfill.commands.train_decoder import add_part_flags, parse_arguments


def build_parser() -> ArgumentParser:
    """Return the parser of the flags."""
    parser = make_parser("Train the aligner of a reconstruction prior, for a base.")
    add_part_flags(parser)
    add = parser.add_argument
    add(
        "--autoencoder",
        default="facebook/vit-mae-base",
        help="masked autoencoder: folder or hub id (default: %(default)s)",
    )
    add("--control", action="store_true", help="give each photo another one's features, to compare")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Train and leave the aligner."""
    arguments = parse_arguments(build_parser(), argv)
    from realfill.photo_training.job import PriorFlags, train_prior  # seconds to import

    train_prior(collect(PriorFlags, arguments))
