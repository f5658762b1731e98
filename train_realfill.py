"""Adapt an inpainting base model to one scene with LoRA.

accelerate launch train_realfill.py --train_data_dir SCENE --output_dir OUTPUT
"""

import os
from argparse import Namespace
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import ProjectConfiguration
from diffusers import StableDiffusionInpaintPipeline
from diffusers.optimization import SchedulerType

from realfill import training
from realfill.checkpoints import load_checkpoint, save_checkpoint
from realfill.command_line import make_parser, run
from realfill.devices import DTYPES, check_flags, choose_precision, start_process
from realfill.errors import UserError
from realfill.memory import choose_savings, explain_shortage
from realfill.models import (
    DEFAULT_BASE,
    LORA_FILE,
    fingerprint,
    load_base,
    native_resolution,
)
from realfill.record import library_versions, read_record
from realfill.results import check_hub, push_to_hub, save_merged, write_results
from realfill.runs import check_output, choose_seed, is_finished, require_same
from realfill.scene import Scene, load_scene
from realfill.set_up import set_up
from realfill.settings import PROMPT, TrainingSettings
from realfill.training import Training
from realfill.validation import validate


def parse_arguments(argv: list[str] | None) -> Namespace:
    """Parse `argv`, or the command line; the names are the seed implementation's."""
    parser = make_parser("Adapt an inpainting base model to one scene with LoRA.")
    default = {f.name: f.default for f in fields(TrainingSettings) if f.default is not MISSING}

    def add(name: str, help: str, **options: Any) -> None:
        options.setdefault("default", default.get(name))
        if "action" not in options and not isinstance(options["default"], (tuple, type(None))):
            options.setdefault("type", type(options["default"]))
            help += " (default: %(default)s)"
        parser.add_argument(f"--{name}", help=help, **options)

    def switch(name: str, help: str) -> None:
        add(name, help, action="store_true", default=False)

    add("train_data_dir", "scene folder with ref/ and target/", type=Path, required=True)
    add("output_dir", "folder for the LoRA file, checkpoints and logs", default="realfill-model")
    add("pretrained_model_name_or_path", "base: folder or hub id", default=DEFAULT_BASE)
    add("revision", "revision of the base on the hub", default=None)
    add("tokenizer_name", "tokenizer, where it is not the base's", default=None)
    add("resolution", "side of the crops in pixels (default: the base's native size)", type=int)
    add("seed", "seed of all draws (default: a random one, written down)", type=int)
    add("mixed_precision", "default: the fastest safe one here", choices=("no", "fp16", "bf16"))

    add("max_train_steps", "optimizer steps (default: 2000)", type=int, default=None)
    add("num_train_epochs", "passes over the photos, in place of steps", type=int)
    add("train_batch_size", "samples a step and process, drawn with replacement")
    add("gradient_accumulation_steps", "batches summed into one optimizer step")
    add("unet_learning_rate", "learning rate of the UNet's layers")
    add("text_encoder_learning_rate", "the same for the text encoder; 0 leaves it as it is")
    switch("scale_lr", "multiply both rates by batch, accumulation and processes")
    schedules = [kind.value for kind in SchedulerType if kind.value != "piecewise_constant"]
    add("lr_scheduler", "schedule of the rates; constant has no warm-up", choices=schedules)
    add("lr_warmup_steps", "steps of warm-up, where the schedule has one")
    add("lr_num_cycles", "restarts of cosine_with_restarts")
    add("lr_power", "power of the polynomial schedule")
    add("latent_reuse", "uses of an encoded crop, on average; 1 encodes anew for every step")
    switch("use_8bit_adam", "8-bit AdamW from bitsandbytes: less memory")
    switch("use_4bit_base", "the frozen UNet's linear layers as NF4 from bitsandbytes")
    add("adam_beta1", "decay of AdamW's first moment")
    add("adam_beta2", "decay of AdamW's second moment")
    add("adam_weight_decay", "AdamW's weight decay")
    add("adam_epsilon", "AdamW's epsilon")
    add("max_grad_norm", "gradients are clipped to this norm")

    add("lora_rank", "rank of the update matrices")
    add("lora_alpha", "scale of the updates, over the rank")
    add("lora_dropout", "dropout before the updates")
    add(
        "lora_bias",
        "only none: LoRA files hold no biases",
        default="none",
        choices=("none", "all", "lora_only"),
    )
    names = " ".join(default["lora_target_modules"])
    add("lora_target_modules", f"adapted modules of the UNet (default: {names})", nargs="+")

    add("num_validation_images", "completions a validation; 0 turns it off", default=4)
    add("validation_steps", "steps between validations", default=100)
    add("checkpointing_steps", "steps between checkpoints", default=500)
    add("checkpoints_total_limit", "checkpoints kept (default: all)", type=int)
    add("resume_from_checkpoint", "go on from this folder, or from the 'latest'", default=None)
    add("logging_dir", "folder of the logs, in the output folder", default="logs")
    trackers = ("tensorboard", "wandb", "all", "none")
    add("report_to", "where to log", default="tensorboard", choices=trackers)
    add("wandb_project_name", "project on Weights & Biases", default="realfill")
    add("wandb_key", "API key; 'wandb login' or WANDB_API_KEY is safer", default=None)

    add("max_memory_gb", "stay within it: try out which memory savings it takes", type=float)
    switch("offload_idle_models", "keep idle models in main memory, encode photos one at a time")
    switch("gradient_checkpointing", "less memory, more time")
    switch("enable_xformers_memory_efficient_attention", "xformers attention (NVIDIA GPU)")
    switch("allow_tf32", "TF32 matrix products on Ampere GPUs and newer")
    switch("save_merged", "also write the whole pipeline with the layers merged in")
    switch("push_to_hub", "upload the LoRA file to the hub at the end")
    add("hub_token", "token for the upload; 'hf auth login' is safer", default=None)
    add("hub_model_id", "repository on the hub (default: the output folder's name)", default=None)
    switch("set_grads_to_none", "accepted; gradients are always set to none")
    switch("pad_to_full_batch", "accepted; batches are always full")
    add("local_rank", "accepted; accelerate sets it", type=int, default=-1)
    arguments = parser.parse_args(argv)
    for name in (
        "resolution",
        "max_train_steps",
        "num_train_epochs",
        "train_batch_size",
        "gradient_accumulation_steps",
        "validation_steps",
        "checkpointing_steps",
        "checkpoints_total_limit",
        "lora_rank",
        "latent_reuse",
    ):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            parser.error(f"--{name} must be 1 or more")
    if arguments.max_memory_gb is not None and not 0 < arguments.max_memory_gb < float("inf"):
        parser.error("--max_memory_gb must be a number above 0")
    if arguments.lora_bias != "none":
        parser.error(
            f"--lora_bias {arguments.lora_bias}: trained biases cannot be kept, diffusers refuses "
            "a LoRA file with biases; leave the flag out"
        )
    return arguments


def start_accelerator(arguments: Namespace) -> Accelerator:
    """Choose device and precision and say which."""
    state = start_process()
    check_flags(arguments, state.device)
    launched_with = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    requested = arguments.mixed_precision or (launched_with if launched_with != "no" else None)
    precision = choose_precision(state.device, requested)
    torch.backends.cuda.matmul.allow_tf32 = arguments.allow_tf32
    if arguments.wandb_key:
        os.environ["WANDB_API_KEY"] = arguments.wandb_key
    accelerator = Accelerator(
        cpu=state.device.type == "cpu",
        mixed_precision=precision,
        log_with=None if arguments.report_to == "none" else arguments.report_to,
        project_config=ProjectConfiguration(
            project_dir=arguments.output_dir,
            logging_dir=str(Path(arguments.output_dir) / arguments.logging_dir),
        ),
    )
    accelerator.print(
        f"device {state.device.type}, {state.num_processes} process(es), precision {precision}"
    )
    return accelerator


def make_settings(
    arguments: Namespace, scene: Scene, resolution: int, accelerator: Accelerator, seed: int
) -> TrainingSettings:
    """Return the settings that the flags and the scene amount to."""
    values = {
        field.name: getattr(arguments, field.name)
        for field in fields(TrainingSettings)
        if getattr(arguments, field.name) is not None
    }
    samples = (
        arguments.train_batch_size
        * arguments.gradient_accumulation_steps
        * accelerator.num_processes
    )
    if arguments.num_train_epochs and not arguments.max_train_steps:
        photos = len(scene.references) + 1
        values["max_train_steps"] = arguments.num_train_epochs * -(-photos // samples)
    if arguments.scale_lr:
        values["unet_learning_rate"] *= samples
        values["text_encoder_learning_rate"] *= samples
    values |= {"seed": seed, "resolution": resolution}
    values |= {"mixed_precision": accelerator.mixed_precision}
    values["lora_target_modules"] = tuple(values["lora_target_modules"])
    return TrainingSettings(**values)


@explain_shortage()
def main(argv: list[str] | None = None) -> None:
    """Train and leave the LoRA file."""
    arguments = parse_arguments(argv)
    output_dir = Path(arguments.output_dir)
    scene = load_scene(arguments.train_data_dir)
    accelerator = start_accelerator(arguments)
    checkpoint = check_output(output_dir, arguments.resume_from_checkpoint)
    api = check_hub(arguments.hub_token) if arguments.push_to_hub else None

    base = arguments.pretrained_model_name_or_path
    seed = choose_seed(arguments.seed, read_record(checkpoint or output_dir))
    if arguments.max_memory_gb:
        arguments.mixed_precision = accelerator.mixed_precision
        arguments = choose_savings(accelerator, arguments, try_out)
    pipeline, settings = load(accelerator, scene, seed, arguments)
    record = {
        "base": base,
        "base_folder": str(Path(base).resolve()) if Path(base).is_dir() else None,
        "revision": arguments.revision,
        "prompt": PROMPT,
        "scene": scene.name,
        "steps": settings.max_train_steps,
        "settings": asdict(settings),
        "identity": {"base": fingerprint(pipeline), "scene": scene.digest()},
        "versions": library_versions(),
    }
    if arguments.resume_from_checkpoint:
        if is_finished(output_dir, record):
            accelerator.print(f"{output_dir}: trained already")
            return
        accelerator.print(f"going on from {checkpoint or 'the start: there is no checkpoint'}")

    run_state = set_up(accelerator, pipeline, scene, settings, arguments)
    if checkpoint:
        state, tensors = load_checkpoint(checkpoint)
        require_same(record, read_record(checkpoint), checkpoint)
        training.restore_training(accelerator, run_state, state, tensors)
    fit(accelerator, pipeline, run_state, scene, settings, arguments, record)
    if accelerator.is_main_process:
        write_results(output_dir, pipeline, record)
        if arguments.save_merged:
            save_merged(output_dir, record["base_folder"] or base, arguments.revision)
        if api:
            push_to_hub(api, output_dir, arguments.hub_model_id or output_dir.name, record)
        print(f"wrote {output_dir / LORA_FILE}")
    for tracker in accelerator.trackers:
        tracker.finish()


def load(
    accelerator: Accelerator, scene: Scene, seed: int, arguments: Namespace
) -> tuple[StableDiffusionInpaintPipeline, TrainingSettings]:
    """Load the base; return it and the settings, which depend on it."""
    pipeline = load_base(
        arguments.pretrained_model_name_or_path,
        DTYPES[accelerator.mixed_precision],
        arguments.revision,
        arguments.tokenizer_name,
    )
    resolution = arguments.resolution or native_resolution(pipeline)
    if resolution % pipeline.vae_scale_factor:
        raise UserError(f"--resolution {resolution}: not a multiple of {pipeline.vae_scale_factor}")
    return pipeline, make_settings(arguments, scene, resolution, accelerator, seed)


def try_out(arguments: Namespace) -> None:
    """Do once what needs memory in a training of its own: take a step, validate."""
    device = start_process().device
    accelerator = Accelerator(cpu=device.type == "cpu", mixed_precision=arguments.mixed_precision)
    scene = load_scene(arguments.train_data_dir)
    pipeline, settings = load(accelerator, scene, 0, arguments)
    run_state = set_up(accelerator, pipeline, scene, settings, arguments)
    run_state.unet.train()
    run_state.text_encoder.train()
    training.take_step(accelerator, run_state, settings)
    if arguments.num_validation_images:
        shape = (settings.resolution, settings.seed, arguments.num_validation_images)
        validate(accelerator, pipeline, scene, *shape, step=0)


def fit(
    accelerator: Accelerator,
    pipeline: StableDiffusionInpaintPipeline,
    run_state: Training,
    scene: Scene,
    settings: TrainingSettings,
    arguments: Namespace,
    record: dict[str, Any],
) -> None:
    """Run the training loop with its logs, checkpoints and validations."""
    output_dir = Path(arguments.output_dir)
    if accelerator.is_main_process:
        accelerator.init_trackers(
            arguments.wandb_project_name,
            {name: str(value) for name, value in asdict(settings).items()},
        )

    def after_step(loss: float | None) -> None:
        step = run_state.step
        if loss is not None:
            rates = run_state.lr_scheduler.get_last_lr()
            names = ("unet_learning_rate", "text_encoder_learning_rate")
            accelerator.log({"loss": loss} | dict(zip(names, rates, strict=True)), step=step)
        if accelerator.is_main_process and step % arguments.checkpointing_steps == 0:
            save_checkpoint(
                output_dir,
                step,
                training.training_tensors(accelerator, run_state),
                training.training_state(accelerator, run_state),
                lambda folder: write_results(folder, pipeline, record | {"steps": step}),
                arguments.checkpoints_total_limit,
            )
        if arguments.num_validation_images and step % arguments.validation_steps == 0:
            if accelerator.is_main_process:
                shape = (settings.resolution, settings.seed, arguments.num_validation_images)
                validate(accelerator, pipeline, scene, *shape, step)
            accelerator.wait_for_everyone()

    training.train(accelerator, run_state, settings, after_step)


if __name__ == "__main__":
    run(main)
