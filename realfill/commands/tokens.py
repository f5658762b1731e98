"""Learn a task on a frozen base: tokens that stand for a prompt, or LoRA layers."""

from argparse import ArgumentParser
from dataclasses import fields
from pathlib import Path

from realfill.command_line import LARGEST_SEED, make_parser, real, whole
from realfill.settings import DEFAULT_BASE, PRECISIONS, TASKS, TaskFlags

LEARNING_RATES = {"reference": 3e-5, "removal": 8e-5, "completion": 8e-5}
LEARNING_RATES |= {"view": 3e-5, "harmonization": 1e-4}


def build_parser() -> ArgumentParser:
    """Return the parser of the flags."""
    parser = make_parser("Learn a task on a frozen base: tokens for a prompt, or LoRA layers.")
    add = parser.add_argument
    add(
        "--task",
        choices=TASKS,
        required=True,
        help="fill beside a reference, fill with background, fill the rest of an object, see from "
        "another place, or (LoRA layers) give what was pasted the photo's light",
    )
    add(
        "--train_data_dir",
        type=Path,
        required=True,
        help="folder of scene folders, or of photos: then one photo is seen twice",
    )
    add(
        "--object_masks",
        type=Path,
        help="objects of the photos: COCO's JSON, or a folder of .mat of BSDS or of PNG label maps",
    )
    add("--output_dir", type=Path, default=Path("task-model"), help="(default: %(default)s)")
    add(
        "--pretrained_model_name_or_path",
        "--base",
        default=DEFAULT_BASE,
        help="base: folder or hub id (default: %(default)s)",
    )
    add("--revision", help="revision of the base on the hub")
    add("--vectors", type=whole(1), help="tokens (default: 50, or as many as the base takes)")
    add("--resolution", type=whole(1, 65536), help="height (default: the base's native size)")
    add("--seed", type=whole(0, LARGEST_SEED), help="default: random, written down")
    add("--mixed_precision", choices=PRECISIONS, help="default: the fastest safe one here")
    add("--max_train_steps", type=whole(1), default=6000, help="(default: %(default)s)")
    add("--train_batch_size", type=whole(1), default=16, help="(default: %(default)s)")
    add("--gradient_accumulation_steps", type=whole(1), default=2, help="(default: %(default)s)")
    rates = ", ".join(f"{task} {rate:g}" for task, rate in LEARNING_RATES.items())
    add("--learning_rate", type=real(0), help=f"default: {rates}")
    add("--latent_reuse", type=whole(1), default=8, help="uses of a sample (default: %(default)s)")
    add("--checkpointing_steps", type=whole(1), default=500, help="(default: %(default)s)")
    add("--checkpoints_total_limit", type=whole(1), help="checkpoints kept (default: all)")
    add("--resume_from_checkpoint", help="go on from this folder, or from the 'latest'")
    add("--report_to", choices=("tensorboard", "none"), default="tensorboard", help="where to log")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Train and leave the tokens, or the LoRA file."""
    arguments = vars(build_parser().parse_args(argv))
    rate = arguments.pop("learning_rate")
    rate = LEARNING_RATES[arguments["task"]] if rate is None else rate
    names = {field.name for field in fields(TaskFlags)}
    flags = TaskFlags(
        **{name: value for name, value in arguments.items() if name in names},
        unet_learning_rate=rate,
        text_encoder_learning_rate=0.0 if arguments["task"] == "harmonization" else rate,
    )
    from realfill.canvas.job import train_task  # torch and diffusers: seconds to import

    train_task(flags)
