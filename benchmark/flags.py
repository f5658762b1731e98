"""The flags that `benchmarks.py` and a metric run alone have in common."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from benchmark.base import Options
from realfill.command_line import whole


def add_common_flags(parser: ArgumentParser) -> None:
    """Add the flags that decide what is computed and where it is kept."""
    add = parser.add_argument
    add(
        "--num_images",
        type=whole(1),
        default=16,
        help="completions a folder (default: %(default)s)",
    )
    add(
        "--resolution",
        choices=("512", "native"),
        default="512",
        help="score at 512 x 512, as is usual, or at the photos' own size (default: %(default)s)",
    )
    add(
        "--lpips_net",
        choices=("alex", "vgg"),
        default="alex",
        help="LPIPS' network (default: %(default)s)",
    )
    add(
        "--model_dir",
        type=Path,
        help="folder of the models, see the README (default: from the hub)",
    )


def read_options(arguments: Namespace) -> Options:
    """Return what the scores depend on besides the images."""
    resolution = None if arguments.resolution == "native" else int(arguments.resolution)
    return Options(resolution, arguments.lpips_net, arguments.model_dir)
