"""Complete a photo from its references: geometry, then exemplars or a trained model."""

from argparse import ArgumentParser, Namespace
from functools import partial
from pathlib import Path

from PIL import Image

import realfill
from realfill.command_line import LARGEST_SEED, collect, make_parser, real, whole
from realfill.completing.job import Job, ModelFlags
from realfill.errors import UserError
from realfill.scene import Scene, load_target, load_truth
from realfill.settings import (
    BIASES,
    DEFAULT_STEPS,
    FILLS,
    GEOMETRY_MODES,
    MATCHERS,
    PRECISIONS,
    PROMPT,
)


def build_parser() -> ArgumentParser:
    """Return the parser of the flags."""
    parser = make_parser("Complete a photo from its references.")
    add = parser.add_argument
    add("--scene", type=Path, help="scene folder: gives the photo, the mask and the references")
    add("--validation_image", type=Path, help="the photo, if no --scene is given")
    add("--validation_mask", type=Path, help="its mask: white = to fill")
    add(
        "--output_dir",
        type=Path,
        default=Path("test-infer"),
        help="folder for the completions (default: %(default)s)",
    )
    add("--num_images", type=whole(1), default=16, help="completions (default: %(default)s)")
    add("--seed", type=whole(0, LARGEST_SEED), help="image i: seed + i (default: random, recorded)")
    add("--overwrite", action="store_true", help="replace completions made with other settings")
    add(
        "--geometry",
        choices=GEOMETRY_MODES,
        default="auto",
        help="recover what the references show first; off: do not; only: one picture of that "
        "alone (default: %(default)s)",
    )
    add(
        "--geometry_report",
        action="store_true",
        help="draw what geometry found, and how sure it is, in geometry.png",
    )
    add("--depth_model", help="depth model, a folder or hub id, for what one reference alone shows")
    add(
        "--fill",
        choices=FILLS,
        default="auto",
        help="what fills the rest: a model's samples, these with a reference beside the photo, "
        "pieces of the references, or nothing (default: model if --model_path is given, else "
        "exemplar)",
    )
    add(
        "--rank",
        nargs="?",
        choices=MATCHERS,
        const="auto",
        help="rank the completions with this matcher (auto: LoFTR if its weights can be found)",
    )
    add("--model_path", help="what train_realfill.py left, or a base")
    add("--pretrained_model_name_or_path", help="the base, if the record does not name it")
    add(
        "--decoder",
        help="folder of a decoder that sees the known pixels, or none (default: the base's own)",
    )
    add("--prior", type=Path, help="folder of a reconstruction prior, in place of the prompt")
    add("--base_only", action="store_true", help="leave the adaptation out, for comparison")
    add(
        "--resolution",
        type=whole(1, 65536),
        help="short side to sample at (default: the trained one)",
    )
    add("--mixed_precision", choices=PRECISIONS, help="default: the fastest safe one here")
    add("--batch_size", type=whole(1), help="images at once (default: as many as fit)")
    add(
        "--scheduler",
        choices=sorted(DEFAULT_STEPS),
        default="dpm",
        help="ddpm is the paper's (default: %(default)s)",
    )
    steps = ", ".join(f"{name} {steps}" for name, steps in DEFAULT_STEPS.items())
    add(
        "--num_inference_steps",
        type=whole(1, 1000),
        help=f"steps of the scheduler (default: {steps})",
    )
    add("--guidance_scale", type=real(0), default=1.0, help="1 is none (default: %(default)s)")
    add("--prompt", help=f"prompt (default: the one trained with, or {PROMPT!r})")
    add(
        "--strength",
        type=real(above=0, below=1),
        help="sample from exemplars under this much noise, 0 to 1 (default: from noise alone)",
    )
    add("--task_tokens", type=Path, help="in place of the prompt: what train_task_tokens.py left")
    add(
        "--canvas_references",
        type=whole(1, 8),
        default=1,
        help="references that the canvas looks at (default: %(default)s)",
    )
    add(
        "--canvas_bias",
        choices=BIASES,
        default="off",
        help="draw attention to where the references show the hole (default: %(default)s)",
    )
    return parser


def parse_arguments(argv: list[str] | None) -> Namespace:
    """Parse `argv`, or the command line."""
    parser = build_parser()
    arguments = parser.parse_args(argv)
    if fault := check_arguments(arguments):
        parser.error(fault)
    return arguments


def check_arguments(arguments: Namespace) -> str | None:
    """Settle what the flags leave open; return what is wrong with them, if anything is."""
    if arguments.fill == "auto":
        arguments.fill = "model" if arguments.model_path else "exemplar"
    if arguments.geometry == "only":
        arguments.fill = "none"
    if arguments.fill == "none":
        arguments.num_images = 1
    if arguments.scene is None and not (arguments.validation_image and arguments.validation_mask):
        return "give --scene, or --validation_image and --validation_mask"
    if arguments.scene is None and (arguments.rank or arguments.fill == "none"):
        return "--rank and --fill none need references: give --scene"
    for flag in ("geometry_report", "depth_model"):
        if getattr(arguments, flag) and (arguments.scene is None or arguments.geometry == "off"):
            return f"--{flag} needs --scene, and --geometry auto or only"
    if arguments.fill == "none" and arguments.geometry == "off":
        return "--fill none and --geometry off leave nothing to do"
    if arguments.prior and (
        arguments.prompt is not None or arguments.guidance_scale != 1 or arguments.task_tokens
    ):
        return (
            "--prior stands in for the prompt; leave --prompt, --guidance_scale, --task_tokens out"
        )
    if (arguments.prior or arguments.decoder) and arguments.fill != "model":
        return "--decoder and --prior are for --fill model"
    if arguments.fill in ("model", "canvas") and arguments.model_path is None:
        return f"--fill {arguments.fill} needs a --model_path"
    if arguments.fill == "canvas" and arguments.scene is None:
        return "--fill canvas needs references: give --scene"
    if arguments.task_tokens and arguments.fill not in ("model", "canvas"):
        return "--task_tokens are for --fill model and --fill canvas"
    return None


def read_photos(arguments: Namespace) -> tuple[Scene, Image.Image | None]:
    """Read the photo and its mask, and for the contact sheet what else the scene has."""
    if arguments.scene is None:
        photos = load_target(arguments.validation_image, arguments.validation_mask)
        return Scene(arguments.validation_image.stem, {}, *photos), None
    scene = realfill.load_scene(arguments.scene)
    if arguments.validation_image or arguments.validation_mask:
        raise UserError("--scene gives the photo and the mask; leave the --validation_ flags out")
    return scene, load_truth(arguments.scene)


def job_maker(arguments: Namespace) -> partial[Job]:
    """Return what makes a job of a scene: all that the flags say, besides photos and folders."""
    return partial(
        Job,
        num_images=arguments.num_images,
        seed=arguments.seed,
        overwrite=arguments.overwrite,
        geometry=arguments.geometry,
        geometry_report=arguments.geometry_report,
        depth_model=arguments.depth_model,
        fill=arguments.fill,
        matcher=arguments.rank,
        model=collect(ModelFlags, arguments),
    )


def main(argv: list[str] | None = None) -> None:
    """Write 0.png, 1.png, …, contact_sheet.png, provenance.png and realfill.json."""
    arguments = parse_arguments(argv)
    scene, truth = read_photos(arguments)
    make_job = job_maker(arguments)
    realfill.complete_scene(make_job(scene, arguments.output_dir, truth, arguments.scene))
