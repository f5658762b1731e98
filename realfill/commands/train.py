"""Adapt an inpainting base model to one scene with LoRA."""

from argparse import ArgumentParser
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import realfill
from realfill.command_line import (
    LARGEST_SEED,
    collect,
    hide_secrets,
    make_parser,
    real,
    whole,
)
from realfill.settings import PRECISIONS, SCHEDULES, TrainingFlags


def build_parser() -> ArgumentParser:
    """Return the parser of the flags; their names are upstream's."""
    parser = make_parser("Adapt an inpainting base model to one scene with LoRA.")
    default = {f.name: f.default for f in fields(TrainingFlags) if f.default is not MISSING}

    def add(name: str, help: str, **options: Any) -> None:
        options.setdefault("default", default.get(name))
        if "action" not in options and not isinstance(options["default"], (tuple, type(None))):
            options.setdefault("type", type(options["default"]))
            help += " (default: %(default)s)"
        parser.add_argument(f"--{name}", help=help, **options)

    def switch(name: str, help: str) -> None:
        add(name, help, action="store_true", default=False)

    add("train_data_dir", "scene folder with ref/ and target/", type=Path, required=True)
    add("output_dir", "folder for the LoRA file, checkpoints and logs")
    add("pretrained_model_name_or_path", "base: folder or hub id")
    add("revision", "revision of the base on the hub")
    add("tokenizer_name", "tokenizer, if it is not the base's")
    add(
        "resolution",
        "side of the crops in pixels (default: the base's native size)",
        type=whole(1, 65536),
    )
    add(
        "seed",
        "seed of all draws (default: a random one, written down)",
        type=whole(0, LARGEST_SEED),
    )
    add("mixed_precision", "default: the fastest safe one here", choices=PRECISIONS)

    add("max_train_steps", "optimizer steps (default: 2000)", type=whole(1))
    add("num_train_epochs", "passes over the photos, in place of steps", type=whole(1))
    add("train_batch_size", "samples a step and process, drawn with replacement", type=whole(1))
    add("gradient_accumulation_steps", "batches summed into one optimizer step", type=whole(1))
    add("unet_learning_rate", "learning rate of the UNet's layers", type=real(0))
    add(
        "text_encoder_learning_rate",
        "the same for the text encoder; 0 leaves it as it is",
        type=real(0),
    )
    switch("scale_lr", "multiply both rates by batch, accumulation and processes")
    add("lr_scheduler", "schedule of the rates; constant has no warm-up", choices=SCHEDULES)
    add("lr_warmup_steps", "steps of warm-up, if the schedule has one", type=whole(0))
    add("lr_num_cycles", "restarts of cosine_with_restarts", type=whole(1))
    add("lr_power", "power of the polynomial schedule", type=real(0))
    add(
        "latent_reuse",
        "uses of an encoded crop, on average; 1 encodes anew for every step",
        type=whole(1),
    )
    switch("use_geometry", "learn what the references show of the hole, and to fill that in them")
    switch("use_8bit_adam", "8-bit AdamW from bitsandbytes: less memory")
    switch("use_4bit_base", "the frozen UNet's linear layers as NF4 from bitsandbytes")
    add("adam_beta1", "decay of AdamW's first moment", type=real(0, below=1))
    add("adam_beta2", "decay of AdamW's second moment", type=real(0, below=1))
    add("adam_weight_decay", "AdamW's weight decay", type=real(0))
    add("adam_epsilon", "AdamW's epsilon", type=real(above=0))
    add("max_grad_norm", "gradients are clipped to this norm", type=real(above=0))

    add("lora_rank", "rank of the update matrices", type=whole(1))
    add("lora_alpha", "scale of the updates, over the rank", type=whole(1))
    add("lora_dropout", "dropout before the updates", type=real(0, below=1))
    add(
        "lora_bias",
        "only none: LoRA files hold no biases",
        default="none",
        choices=("none", "all", "lora_only"),
    )
    names = " ".join(default["lora_target_modules"])
    add("lora_target_modules", f"adapted modules of the UNet (default: {names})", nargs="+")

    add("num_validation_images", "completions a validation; 0 turns it off", type=whole(0))
    add("validation_steps", "steps between validations", type=whole(1))
    add("checkpointing_steps", "steps between checkpoints", type=whole(1))
    add("checkpoints_total_limit", "checkpoints kept (default: all)", type=whole(1))
    add("resume_from_checkpoint", "go on from this folder, or from the 'latest'")
    add("logging_dir", "folder of the logs, in the output folder")
    trackers = ("tensorboard", "wandb", "all", "none")
    add("report_to", "where to log", choices=trackers)
    add("wandb_project_name", "project on Weights & Biases")
    add("wandb_key", "API key; 'wandb login' or WANDB_API_KEY is safer")

    add(
        "max_memory_gb", "stay within it: try out which memory savings it takes", type=real(above=0)
    )
    switch("offload_idle_models", "keep idle models in main memory, encode photos one at a time")
    switch("gradient_checkpointing", "less memory, more time")
    switch("enable_xformers_memory_efficient_attention", "xformers attention (NVIDIA GPU)")
    switch("allow_tf32", "TF32 matrix products on Ampere GPUs and newer")
    switch("save_merged", "also write the whole pipeline with the layers merged in")
    switch("push_to_hub", "upload the LoRA file to the hub at the end")
    add("hub_token", "token for the upload; 'hf auth login' is safer")
    add("hub_model_id", "repository on the hub (default: the output folder's name)")
    switch("set_grads_to_none", "accepted; gradients are always set to none")
    switch("pad_to_full_batch", "accepted; batches are always full")
    add("local_rank", "accepted; accelerate sets it", type=int, default=-1)
    return parser


def parse_arguments(argv: list[str] | None) -> TrainingFlags:
    """Parse `argv`, or the command line."""
    parser = build_parser()
    arguments = parser.parse_args(argv)
    hide_secrets("hub_token", "wandb_key")
    if arguments.lora_bias != "none":
        parser.error(
            f"--lora_bias {arguments.lora_bias}: trained biases cannot be kept, diffusers refuses "
            "a LoRA file with biases; leave the flag out"
        )
    arguments.lora_target_modules = tuple(arguments.lora_target_modules)
    return collect(TrainingFlags, arguments)


def main(argv: list[str] | None = None) -> None:
    """Train and leave the LoRA file."""
    flags = parse_arguments(argv)
    scene = realfill.load_scene(flags.train_data_dir)
    realfill.train_scene(scene, flags)
