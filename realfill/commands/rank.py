"""Rank completions by their correspondences with the references; add the best to the references."""

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from PIL import Image

from realfill.command_line import (
    SOMETHING_LEFT_OUT,
    is_main_process,
    make_parser,
    real,
    whole,
)
from realfill.errors import UserError
from realfill.images.read import read_photo
from realfill.lock import one_writer
from realfill.matching.evidence import COUNTS
from realfill.matching.pairs import choose_matcher
from realfill.ranking.rank import rank_folder
from realfill.ranking.references import add_best, find_copies
from realfill.ranking_file import RANKING_FILE
from realfill.sampling.folder import find_completions
from realfill.scene import find_image, load_references, load_target
from realfill.settings import MATCHERS


def build_parser() -> ArgumentParser:
    """Return the parser of the flags; their names are upstream's, with _ or with -."""
    parser = make_parser("Rank completions by their correspondences with the references.")

    def add(name: str, help: str, **options: Any) -> None:
        spellings = dict.fromkeys((f"--{name.replace('_', '-')}", f"--{name}"))
        parser.add_argument(*spellings, help=help, **options)

    add("source_dir", "folder of the completions 0.png, 1.png, …", type=Path, required=True)
    add("scene", "scene folder: gives the references and the mask", type=Path)
    add("ref_dir", "folder of the references (default: the scene's)", type=Path)
    add("mask", "white = the hole (default: the scene's)", type=Path)
    add("rank_only", "only rank, add nothing to the references", action="store_true")
    add("target_count", "references to have, with the best completions added", type=whole(1))
    add(
        "matcher",
        "auto is LoFTR if its weights can be found, else SIFT",
        choices=MATCHERS,
        default="auto",
    )
    add("count", "what counts (default: geometric; whole without a mask)", choices=COUNTS)
    add(
        "conf_threshold",
        "least confidence; SIFT's is 1 less the distance ratio (default: LoFTR 0.9, SIFT 0.2)",
        type=real(0),
    )
    add("model_type", "LoFTR's weights", choices=("outdoor", "indoor"), default="outdoor")
    add("loftr_weights", "LoFTR's checkpoint (default: downloaded)", type=Path)
    add("ranking_output_file", "file name in the folder of the completions", default=RANKING_FILE)
    return parser


def parse_arguments(argv: list[str] | None) -> Namespace:
    """Parse `argv`, or the command line."""
    parser = build_parser()
    arguments = parser.parse_args(argv)
    if not arguments.rank_only and arguments.target_count is None:
        parser.error("give --rank_only, or --target_count to add the best to the references")
    if arguments.scene is None and arguments.ref_dir is None:
        parser.error("give --scene or --ref_dir")
    return arguments


def read_mask_of(arguments: Namespace, completion: Path) -> Image.Image | None:
    """Read the mask, if there is one, and check that it fits the completions."""
    path = arguments.mask
    if path is None and arguments.scene:
        path = find_image(arguments.scene / "target", "mask")
    if path:
        return load_target(completion, path)[1]
    if arguments.count in ("geometric", "hole"):
        raise UserError(f"--count {arguments.count} needs to know the hole: give --mask or --scene")
    return None


def whole_ones(completions: list[Path]) -> list[Path]:
    """Return the completions that can be read; name each that cannot on a line."""
    readable = []
    for path in completions:
        try:
            read_photo(path)
            readable.append(path)
        except UserError as error:
            if is_main_process():
                print(f"left out: {error}", file=sys.stderr)
    if not readable:
        raise UserError(f"{completions[0].parent}: no completion in it can be read")
    return readable


def main(argv: list[str] | None = None) -> None:
    """Write the ranking file and ranking.png, and copy the best."""
    arguments = parse_arguments(argv)
    completions = find_completions(arguments.source_dir)
    readable = whole_ones(completions)
    reference_folder = arguments.ref_dir or arguments.scene / "ref"
    references = load_references(reference_folder)
    for path in find_copies(readable, reference_folder):
        del references[path.name]  # a completion has all its correspondences with its own copy
    if not references:
        raise UserError(f"{reference_folder}: holds only copies of completions; add a photo")
    mask = read_mask_of(arguments, readable[0])
    with one_writer(arguments.source_dir):
        rank(arguments, readable, references, mask, reference_folder)
    if len(readable) < len(completions):
        sys.exit(SOMETHING_LEFT_OUT)


def rank(
    arguments: Namespace,
    completions: list[Path],
    references: dict[str, Image.Image],
    mask: Image.Image | None,
    reference_folder: Path,
) -> None:
    """Rank the completions, and add the best to the references if that is asked for."""
    count = arguments.count or ("geometric" if mask else "whole")
    if not mask and is_main_process():
        print("counting over the whole image; --mask or --scene gives the hole")
    matcher = choose_matcher(arguments.matcher, arguments.model_type, arguments.loftr_weights)
    ranked = rank_folder(
        completions,
        references,
        mask,
        matcher,
        reference_folder=reference_folder,
        count=count,
        threshold=arguments.conf_threshold,
        ranking_file=arguments.ranking_output_file,
    )
    if not is_main_process():
        return
    print(f"best: {ranked[0]}; wrote {arguments.source_dir / arguments.ranking_output_file}")
    if not arguments.rank_only:
        for path in add_best(ranked, reference_folder, arguments.target_count):
            print(f"added {path}")
