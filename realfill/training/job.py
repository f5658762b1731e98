"""A training run, from what is asked of it to what lies in its output folder."""

import os
from dataclasses import asdict, fields, replace
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import ProjectConfiguration
from diffusers import StableDiffusionInpaintPipeline

from realfill.command_line import quiet_libraries
from realfill.devices import DTYPES, check_flags, choose_precision, start_process
from realfill.errors import UserError
from realfill.lock import one_writer
from realfill.model.base import load_base, native_resolution, resolve_base
from realfill.model.integrity import fingerprint, fingerprints
from realfill.model.save import check_hub, push_to_hub, save_merged, write_results
from realfill.record import LORA_FILE, TrainingRecord, all_versions
from realfill.scene import Scene, load_scene
from realfill.seeds import choose_seed
from realfill.settings import PROMPT, Hyperparameters, TrainingFlags, TrainingSettings
from realfill.training.memory_budget import choose_savings, explain_shortage
from realfill.training.runs import (
    SCRIPT,
    check_output,
    claim_output,
    is_finished,
    is_merged,
    require_same,
)
from realfill.training.trainer import Trainer


def start_accelerator(flags: TrainingFlags) -> Accelerator:
    """Choose device and precision and say which."""
    state = start_process()
    check_flags(flags, state.device)
    launched_with = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    requested = flags.mixed_precision or (launched_with if launched_with != "no" else None)
    precision = choose_precision(state.device, requested)
    torch.backends.cuda.matmul.allow_tf32 = flags.allow_tf32
    if flags.wandb_key:
        os.environ["WANDB_API_KEY"] = flags.wandb_key
    accelerator = Accelerator(
        cpu=state.device.type == "cpu",
        mixed_precision=precision,
        log_with=None if flags.report_to == "none" else flags.report_to,
        project_config=ProjectConfiguration(
            project_dir=str(flags.output_dir),
            logging_dir=str(flags.output_dir / flags.logging_dir),
        ),
    )
    accelerator.print(
        f"device {state.device.type}, {state.num_processes} process(es), precision {precision}"
    )
    return accelerator


def make_settings(
    flags: TrainingFlags, scene: Scene, resolution: int, accelerator: Accelerator, seed: int
) -> TrainingSettings:
    """Return the settings that the flags and the scene amount to."""
    values = {field.name: getattr(flags, field.name) for field in fields(Hyperparameters)}
    batches = flags.gradient_accumulation_steps * accelerator.num_processes
    samples = flags.train_batch_size * batches
    if flags.max_train_steps:
        values["max_train_steps"] = flags.max_train_steps
    elif flags.num_train_epochs:
        photos = len(scene.references) + 1
        values["max_train_steps"] = flags.num_train_epochs * -(-photos // samples)
    if flags.scale_lr:
        values["unet_learning_rate"] *= samples
        values["text_encoder_learning_rate"] *= samples
    values |= {"seed": seed, "resolution": resolution}
    values |= {"mixed_precision": accelerator.mixed_precision}
    return TrainingSettings(**values)


@explain_shortage()
def train_scene(scene: Scene, flags: TrainingFlags) -> None:
    """Train on `scene` and leave the LoRA file in the output folder, with that to itself."""
    quiet_libraries()
    accelerator = start_accelerator(flags)
    with one_writer(flags.output_dir):
        accelerator.wait_for_everyone()  # what a killed run left half-written is gone
        train(accelerator, scene, flags)


def train(accelerator: Accelerator, scene: Scene, flags: TrainingFlags) -> None:
    """Load the base, train it, and write what comes out, if it is not there already."""
    output_dir = flags.output_dir
    checkpoint = check_output(output_dir, flags.train_data_dir, flags.resume_from_checkpoint)
    api = check_hub(flags.hub_token) if flags.push_to_hub else None

    seed = choose_seed(flags.seed, TrainingRecord.read(checkpoint or output_dir).seed)
    if flags.max_memory_gb:
        trial = replace(flags, mixed_precision=accelerator.mixed_precision)
        flags = choose_savings(accelerator, trial, flags.max_memory_gb, try_out)
    pipeline, settings = load(accelerator, scene, seed, flags)
    record = make_record(pipeline, scene, settings, flags)
    if flags.resume_from_checkpoint:
        if is_finished(output_dir, record, checkpoint):
            accelerator.print(f"{output_dir}: trained already")
            if accelerator.is_main_process and flags.save_merged and not is_merged(output_dir):
                save_merged(output_dir, record)
            return
        accelerator.print(f"going on from {checkpoint or 'the start: there is no checkpoint'}")

    if checkpoint:
        require_same(record, TrainingRecord.read(checkpoint), checkpoint)
    trainer = Trainer.build(accelerator, pipeline, scene, settings, flags)
    if checkpoint:
        trainer.restore(checkpoint)
    trainer.fit(record)
    if accelerator.is_main_process:
        write_results(output_dir, pipeline, record)
        if flags.save_merged:
            save_merged(output_dir, record)
        if api:
            push_to_hub(api, output_dir, flags.hub_model_id or output_dir.name, record)
        print(f"wrote {output_dir / LORA_FILE}")
    for tracker in accelerator.trackers:
        tracker.finish()


def make_record(
    pipeline: StableDiffusionInpaintPipeline,
    scene: Scene,
    settings: TrainingSettings,
    flags: TrainingFlags,
) -> TrainingRecord:
    """Return what realfill.json says of this run. Raises `UserError` for foreign files."""
    return replace(
        describe_run(pipeline, settings, flags),
        script=SCRIPT,
        files=claim_output(flags.output_dir, flags.save_merged),
        scene=scene.name,
        identity={"base": fingerprint(pipeline), "scene": scene.digest()},
    )


def describe_run(
    pipeline: StableDiffusionInpaintPipeline, settings: TrainingSettings, flags: TrainingFlags
) -> TrainingRecord:
    """Return what a record says of the base and the settings of a run, whatever is trained."""
    base = flags.pretrained_model_name_or_path
    place = Path(resolve_base(base))
    return TrainingRecord(
        base=base,
        base_folder=str(place.resolve()) if place.is_dir() else None,
        revision=flags.revision,
        prompt=PROMPT,
        steps=settings.max_train_steps,
        settings=asdict(settings),
        base_fingerprints=fingerprints(pipeline),
        versions=all_versions(),
    )


def load(
    accelerator: Accelerator, scene: Scene, seed: int, flags: TrainingFlags
) -> tuple[StableDiffusionInpaintPipeline, TrainingSettings]:
    """Load the base; return it and the settings, which depend on it."""
    pipeline = load_base(
        flags.pretrained_model_name_or_path,
        DTYPES[accelerator.mixed_precision],
        flags.revision,
        flags.tokenizer_name,
    )
    resolution = flags.resolution or native_resolution(pipeline)
    if resolution % pipeline.vae_scale_factor:
        raise UserError(f"--resolution {resolution}: not a multiple of {pipeline.vae_scale_factor}")
    return pipeline, make_settings(flags, scene, resolution, accelerator, seed)


def try_out(flags: TrainingFlags) -> None:
    """Do once what needs memory, in a process of its own: take a step, validate."""
    device = start_process().device
    accelerator = Accelerator(cpu=device.type == "cpu", mixed_precision=flags.mixed_precision)
    scene = load_scene(flags.train_data_dir)
    pipeline, settings = load(accelerator, scene, 0, flags)
    trainer = Trainer.build(accelerator, pipeline, scene, settings, flags)
    trainer.take_step()
    if flags.num_validation_images:
        trainer.validate()
