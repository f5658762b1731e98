"""Move a subject within a photo, and fill what it leaves."""

from argparse import ArgumentParser
from pathlib import Path

from realfill.command_line import LARGEST_SEED, make_parser, real, whole
from realfill.completing.job import ModelFlags
from realfill.errors import UserError
from realfill.scene import load_references, load_target
from realfill.settings import PRECISIONS


def build_parser() -> ArgumentParser:
    """Return the parser of the flags."""
    parser = make_parser("Move a subject within a photo, and fill what it leaves.")
    add = parser.add_argument
    add("--image", type=Path, required=True, help="the photo")
    add("--mask", type=Path, required=True, help="white = the subject; the photo's size")
    add(
        "--shift",
        type=int,
        nargs=2,
        required=True,
        metavar=("DX", "DY"),
        help="pixels to the right and down",
    )
    add("--scale", type=real(above=0, below=100), default=1.0, help="(default: %(default)s)")
    add("--hidden", type=Path, help="white = what is to be completed of it, before it is moved")
    add("--references", type=Path, help="folder of other photos: what stands behind the subject")
    add("--output_dir", type=Path, default=Path("repositioned"), help="(default: %(default)s)")
    add("--model_path", help="a base, or what training left (default: pieces of the photos fill)")
    add("--removal_tokens", type=Path, help="what train_task_tokens.py --task removal left")
    add("--completion_tokens", type=Path, help="the same of --task completion")
    add("--harmonization", type=Path, help="folder that --task harmonization left")
    add("--prompt", help="of the model, if there are no tokens (default: the recorded one)")
    add("--mixed_precision", choices=PRECISIONS, help="default: the fastest safe one here")
    add("--num_images", type=whole(1), default=4, help="tries; the best one stays (default: 4)")
    add("--seed", type=whole(0, LARGEST_SEED), default=0, help="(default: %(default)s)")
    add("--overwrite", action="store_true", help="replace another move")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Write repositioned.png, steps.png and realfill.json."""
    parser = build_parser()
    given = parser.parse_args(argv)
    if given.model_path is None and (given.removal_tokens or given.completion_tokens):
        parser.error("--removal_tokens and --completion_tokens need a --model_path")
    photo, subject = load_target(given.image, given.mask)
    hidden = load_target(given.image, given.hidden)[1] if given.hidden else None
    for path in (given.removal_tokens, given.completion_tokens):
        if path is not None and not path.is_file():
            raise UserError(f"{path}: no such file; give what train_task_tokens.py left")
    from realfill.completing.move import Move, reposition  # torch: seconds to import

    model = ModelFlags(
        model_path=given.model_path,
        mixed_precision=given.mixed_precision,
        prompt=given.prompt,
        task_tokens=given.removal_tokens,
    )
    reposition(
        Move(
            photo,
            subject,
            tuple(given.shift),
            given.output_dir,
            given.scale,
            hidden,
            load_references(given.references) if given.references else {},
            model,
            given.completion_tokens,
            given.harmonization,
            given.seed,
            given.num_images,
            given.overwrite,
        )
    )
