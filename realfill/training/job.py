"""A training run, from the flags of train_realfill.py to what lies in its output folder."""

import os
from argparse import Namespace
from dataclasses import asdict, fields, replace
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import ProjectConfiguration
from diffusers import StableDiffusionInpaintPipeline

from realfill.devices import DTYPES, check_flags, choose_precision, start_process
from realfill.errors import UserError
from realfill.lock import one_writer
from realfill.model.base import load_base, native_resolution, resolve_base
from realfill.model.integrity import fingerprint, fingerprints
from realfill.model.save import check_hub, push_to_hub, save_merged, write_results
from realfill.record import LORA_FILE, TrainingRecord, all_versions
from realfill.scene import Scene, load_scene
from realfill.settings import PROMPT, TrainingSettings
from realfill.training import loop
from realfill.training.build import set_up
from realfill.training.checkpoints import load_checkpoint, save_checkpoint
from realfill.training.loop import Training
from realfill.training.memory_budget import choose_savings, explain_shortage
from realfill.training.runs import (
    SCRIPT,
    check_output,
    choose_seed,
    claim_output,
    is_finished,
    is_merged,
    require_same,
)
from realfill.training.state import restore_training, training_state, training_tensors
from realfill.training.validation import validate


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
def train_scene(scene: Scene, arguments: Namespace) -> None:
    """Train on `scene` and leave the LoRA file in the output folder, with that to itself."""
    accelerator = start_accelerator(arguments)
    with one_writer(Path(arguments.output_dir)):
        accelerator.wait_for_everyone()  # what a killed run left half-written is gone
        train(accelerator, scene, arguments)


def train(accelerator: Accelerator, scene: Scene, arguments: Namespace) -> None:
    """Load the base, train it, and write what comes out, if it is not there already."""
    output_dir = Path(arguments.output_dir)
    checkpoint = check_output(
        output_dir, arguments.train_data_dir, arguments.resume_from_checkpoint
    )
    api = check_hub(arguments.hub_token) if arguments.push_to_hub else None

    seed = choose_seed(arguments.seed, TrainingRecord.read(checkpoint or output_dir).seed)
    if arguments.max_memory_gb:
        arguments.mixed_precision = accelerator.mixed_precision
        arguments = choose_savings(accelerator, arguments, try_out)
    pipeline, settings = load(accelerator, scene, seed, arguments)
    record = make_record(pipeline, scene, settings, arguments)
    if arguments.resume_from_checkpoint:
        if is_finished(output_dir, record, checkpoint):
            accelerator.print(f"{output_dir}: trained already")
            if accelerator.is_main_process and arguments.save_merged and not is_merged(output_dir):
                save_merged(output_dir, record)
            return
        accelerator.print(f"going on from {checkpoint or 'the start: there is no checkpoint'}")

    run_state = set_up(accelerator, pipeline, scene, settings, arguments)
    if checkpoint:
        state, tensors = load_checkpoint(checkpoint)
        require_same(record, TrainingRecord.read(checkpoint), checkpoint)
        restore_training(accelerator, run_state, state, tensors)
    fit(accelerator, pipeline, run_state, scene, settings, arguments, record)
    if accelerator.is_main_process:
        write_results(output_dir, pipeline, record)
        if arguments.save_merged:
            save_merged(output_dir, record)
        if api:
            push_to_hub(api, output_dir, arguments.hub_model_id or output_dir.name, record)
        print(f"wrote {output_dir / LORA_FILE}")
    for tracker in accelerator.trackers:
        tracker.finish()


def make_record(
    pipeline: StableDiffusionInpaintPipeline,
    scene: Scene,
    settings: TrainingSettings,
    arguments: Namespace,
) -> TrainingRecord:
    """Return what realfill.json says of this run. Raises `UserError` for foreign files."""
    base = arguments.pretrained_model_name_or_path
    place = Path(resolve_base(base))
    return TrainingRecord(
        script=SCRIPT,
        files=claim_output(Path(arguments.output_dir), arguments.save_merged),
        base=base,
        base_folder=str(place.resolve()) if place.is_dir() else None,
        revision=arguments.revision,
        prompt=PROMPT,
        scene=scene.name,
        steps=settings.max_train_steps,
        settings=asdict(settings),
        identity={"base": fingerprint(pipeline), "scene": scene.digest()},
        base_fingerprints=fingerprints(pipeline),
        versions=all_versions(),
    )


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
    loop.take_step(accelerator, run_state, settings)
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
    record: TrainingRecord,
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
                training_tensors(accelerator, run_state),
                training_state(accelerator, run_state),
                lambda folder: write_results(folder, pipeline, replace(record, steps=step)),
                arguments.checkpoints_total_limit,
            )
        if arguments.num_validation_images and step % arguments.validation_steps == 0:
            if accelerator.is_main_process:
                shape = (settings.resolution, settings.seed, arguments.num_validation_images)
                validate(accelerator, pipeline, scene, *shape, step)
            accelerator.wait_for_everyone()

    loop.train(accelerator, run_state, settings, after_step)
