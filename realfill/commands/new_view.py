"""Paint a place as it looks from where no photo was taken."""

from argparse import ArgumentParser
from math import radians
from pathlib import Path

from realfill.command_line import LARGEST_SEED, make_parser, real, whole
from realfill.completing.job import ModelFlags
from realfill.errors import UserError
from realfill.images.read import read_photo
from realfill.scene import load_scene
from realfill.settings import PRECISIONS


def build_parser() -> ArgumentParser:
    """Return the parser of the flags."""
    parser = make_parser("Paint a place as it looks from where no photo was taken.")
    add = parser.add_argument
    add("--image", type=Path, help="a photo of the place; --turn and --forward say from where")
    add(
        "--turn",
        type=real(-180, 180),
        nargs=2,
        default=(0.0, 0.0),
        metavar=("RIGHT", "UP"),
        help="degrees by which the camera turns; on a way around an object, how far it goes",
    )
    add(
        "--forward",
        type=real(-10, 10),
        default=0.0,
        help="how far it goes forward, in distances to the scene (default: %(default)s)",
    )
    add("--scene", type=Path, help="or a scene folder: from where its target photo was taken")
    add("--model_path", required=True, help="the base that the tokens were learned on")
    add(
        "--task_tokens",
        type=Path,
        required=True,
        help="what train_task_tokens.py --task view left",
    )
    add("--output_dir", type=Path, default=Path("new-view"), help="(default: %(default)s)")
    add("--resolution", type=whole(1, 65536), help="short side (default: the base's)")
    add("--guidance_scale", type=real(0), default=2.5, help="(default: %(default)s)")
    add("--num_inference_steps", type=whole(1, 1000), help="(default: the scheduler's)")
    add("--mixed_precision", choices=PRECISIONS, help="default: the fastest safe one here")
    add("--num_images", type=whole(1), default=4, help="(default: %(default)s)")
    add("--seed", type=whole(0, LARGEST_SEED), default=0, help="(default: %(default)s)")
    add("--overwrite", action="store_true", help="replace another view")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Write 0.png, 1.png, … and realfill.json."""
    parser = build_parser()
    given = parser.parse_args(argv)
    if (given.image is None) == (given.scene is None):
        parser.error("give an --image, or a --scene")
    if given.scene and (tuple(given.turn) != (0, 0) or given.forward):
        parser.error("--scene says from where; leave --turn and --forward out")
    if not given.task_tokens.is_file():
        raise UserError(f"{given.task_tokens}: no such file; give what train_task_tokens.py left")
    scene = load_scene(given.scene) if given.scene else None
    photo = None if scene else read_photo(given.image)
    from realfill.canvas.poses import pose  # torch: seconds to import
    from realfill.completing.new_view import NewView, paint_view, target_of

    if scene is not None:
        size = scene.target.size
        photo, told = target_of(scene)
    else:
        assert photo is not None  # one of both was given
        right, up = map(radians, given.turn)
        size, told = photo.size, pose(right, up, given.forward)
    model = ModelFlags(
        model_path=given.model_path,
        resolution=given.resolution,
        guidance_scale=given.guidance_scale,
        num_inference_steps=given.num_inference_steps,
        mixed_precision=given.mixed_precision,
    )
    paint_view(
        NewView(
            photo,
            told,
            size,
            given.task_tokens,
            given.output_dir,
            model,
            given.seed,
            given.num_images,
            given.overwrite,
        )
    )
