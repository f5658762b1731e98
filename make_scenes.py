"""Make scene folders: of the published RealBench archive, or of one's own photos.

python make_scenes.py realbench --from realfill_data_release_full.zip --output_dir DATASET
python make_scenes.py photos --from PHOTOS --mask "{}_mask.png" --output_dir SCENES
python make_scenes.py photos --from PHOTOS --holes boxes --seed 0 --output_dir SCENES
"""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from realfill.command_line import (
    LARGEST_SEED,
    SOMETHING_LEFT_OUT,
    make_parser,
    printable,
    run,
    whole,
)
from realfill.datasets.holes import HOLES
from realfill.datasets.photos import photo_scenes
from realfill.datasets.realbench import realbench_scenes
from realfill.datasets.write import Recipe, write_scenes
from realfill.errors import UserError
from realfill.lock import one_writer
from realfill.record import refuse_scene

EXIT_CODES = (
    "Exit code 0: all scenes are there; 3: all but those that a line names; 2: none was made."
)


def build_parser() -> ArgumentParser:
    """Return the parser of the flags."""
    parser = make_parser("Make scene folders.")
    parser.epilog = EXIT_CODES
    kinds = parser.add_subparsers(dest="kind", required=True)

    def add_kind(name: str, description: str, source: str, output: str) -> ArgumentParser:
        kind = kinds.add_parser(name, help=description, description=description, epilog=EXIT_CODES)
        kind.add_argument("--from", dest="source", type=Path, required=True, help=source)
        kind.add_argument("--output_dir", type=Path, required=True, help=output)
        return kind

    add_kind(
        "realbench",
        "Unpack the published archive of RealBench and check each scene.",
        "realfill_data_release_full.zip",
        "the scenes come into RealBench/ in it, as benchmarks.py --realbench_dataset_dir takes it",
    )
    photos = add_kind(
        "photos",
        "Make scenes of photos of one place.",
        "folder of photos of one place, or of such folders",
        "the scenes come into it, named after the folder and the photo",
    )
    add = photos.add_argument
    add("--mask", metavar="NAME", help='complete the photos that have a mask: --mask "{}_mask.png"')
    add(
        "--holes",
        choices=sorted(HOLES),
        help="make a benchmark: hide parts of each photo, and keep it as the truth",
    )
    add(
        "--seed", type=whole(0, LARGEST_SEED), default=0, help="of the holes (default: %(default)s)"
    )
    add(
        "--references",
        type=whole(1),
        default=5,
        help="most references of a scene, the nearest by name (default: %(default)s)",
    )
    return parser


def parse_arguments() -> Namespace:
    """Parse the command line."""
    parser = build_parser()
    arguments = parser.parse_args()
    if arguments.kind == "photos":
        if bool(arguments.mask) == bool(arguments.holes):
            parser.error("give either --mask or --holes")
        if arguments.mask and arguments.mask.count("{}") != 1:
            parser.error('--mask: {} must stand for the name of the photo, as in "{}_mask.png"')
    return arguments


@contextmanager
def open_source(arguments: Namespace) -> Iterator[tuple[Path, dict[str, Recipe], list[str]]]:
    """Yield the folder for the scenes, a recipe for each, and a line for each fault so far."""
    output = arguments.output_dir
    if arguments.kind == "realbench":
        with realbench_scenes(arguments.source) as recipes:
            yield output / "RealBench", recipes, []
        return
    if output.resolve().is_relative_to(arguments.source.resolve()):
        raise UserError(f"{output}: lies among the photos; choose another --output_dir")
    flags = arguments.mask, arguments.holes, arguments.seed, arguments.references
    yield output, *photo_scenes(arguments.source, *flags)


def main() -> None:
    """Write the scenes, and say which could not be made."""
    arguments = parse_arguments()
    refuse_scene(arguments.output_dir, None)
    with open_source(arguments) as (folder, recipes, faults):
        say(faults)
        unwritten = []
        if recipes:
            with one_writer(folder):
                unwritten = write_scenes(folder, recipes)
    say(unwritten)
    if len(unwritten) == len(recipes):
        raise UserError(f"{arguments.source}: no scene could be made of it; see above")
    print(f"{len(recipes) - len(unwritten)} scenes in {folder}")
    if faults or unwritten:
        sys.exit(SOMETHING_LEFT_OUT)


def say(faults: list[str]) -> None:
    """Print a line for each thing that is left out."""
    for fault in faults:
        print(printable(" ".join(f"left out: {fault}".split())), file=sys.stderr)


if __name__ == "__main__":
    run(main)
