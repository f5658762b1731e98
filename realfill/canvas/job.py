"""A training run of a task, from what is asked of it to what lies in its output folder."""

from dataclasses import fields, replace

import torch
from accelerate import Accelerator
from diffusers import StableDiffusionInpaintPipeline

from realfill.canvas.learning import build_trainer, count_vectors
from realfill.canvas.poses import POSE_FILE
from realfill.canvas.task_photos import TaskPhotos, find_photos
from realfill.canvas.tokens import TOKEN, TOKENS_FILE
from realfill.canvas.view_photos import ViewPhotos, find_views
from realfill.command_line import quiet_libraries
from realfill.devices import DTYPES
from realfill.errors import UserError
from realfill.lock import one_writer
from realfill.model.base import load_base, native_resolution
from realfill.model.integrity import fingerprint
from realfill.record import LORA_FILE, TrainingRecord, claim
from realfill.seeds import choose_seed
from realfill.settings import Hyperparameters, TaskFlags, TaskSettings
from realfill.training.job import describe_run, start_accelerator
from realfill.training.memory_budget import explain_shortage
from realfill.training.runs import check_output, comparable, require_same

SCRIPT = "train_task_tokens.py"


@explain_shortage()
def train_task(flags: TaskFlags) -> None:
    """Learn the task of `flags` and leave its file in the output folder. Raises `UserError`."""
    quiet_libraries()
    accelerator = start_accelerator(flags)
    with one_writer(flags.output_dir):
        accelerator.wait_for_everyone()  # what a killed run left half-written is gone
        train(accelerator, flags)


def train(accelerator: Accelerator, flags: TaskFlags) -> None:
    """Load the base, train it, and write what comes out, if it is not there already."""
    output_dir, result = flags.output_dir, result_of(flags.task)
    photos = find(flags, accelerator.device)
    resume = flags.resume_from_checkpoint
    checkpoint = check_output(output_dir, flags.train_data_dir, resume, result)
    seed = choose_seed(flags.seed, TrainingRecord.read(checkpoint or output_dir).seed)
    base = (flags.pretrained_model_name_or_path, DTYPES[accelerator.mixed_precision])
    pipeline = load_base(*base, flags.revision)
    settings = make_settings(flags, pipeline, accelerator.mixed_precision, seed)
    record = make_record(pipeline, photos, settings, flags)
    if resume and is_done(flags, record):
        accelerator.print(f"{output_dir}: trained already")
        return
    if checkpoint:
        require_same(record, TrainingRecord.read(checkpoint), checkpoint)
        accelerator.print(f"going on from {checkpoint}")
    trainer = build_trainer(accelerator, pipeline, photos, settings, flags)
    if checkpoint:
        trainer.restore(checkpoint)
    trainer.fit(record)
    if accelerator.is_main_process:
        trainer.write(output_dir, pipeline, record)
        print(f"wrote {output_dir / result}")
    for tracker in accelerator.trackers:
        tracker.finish()


def find(flags: TaskFlags, device: torch.device) -> TaskPhotos | ViewPhotos:
    """Find what the task is learned from. Raises `UserError`."""
    if flags.task == "view":
        return find_views(flags.train_data_dir, device)
    return find_photos(flags.train_data_dir, flags.task, flags.object_masks, device)


def result_of(task: str) -> str:
    """Return the name of the file that a task leaves; a pose encoder may be beside it."""
    return LORA_FILE if task == "harmonization" else TOKENS_FILE


def make_settings(
    flags: TaskFlags, pipeline: StableDiffusionInpaintPipeline, precision: str, seed: int
) -> TaskSettings:
    """Return the settings that the flags and the base amount to. Raises `UserError`."""
    resolution = flags.resolution or native_resolution(pipeline)
    if resolution % pipeline.vae_scale_factor:
        raise UserError(f"--resolution {resolution}: not a multiple of {pipeline.vae_scale_factor}")
    values = {field.name: getattr(flags, field.name) for field in fields(Hyperparameters)}
    if flags.max_train_steps:
        values["max_train_steps"] = flags.max_train_steps
    return TaskSettings(
        **values,
        seed=seed,
        resolution=resolution,
        mixed_precision=precision,
        task=flags.task,
        vectors=count_vectors(pipeline, flags.task, flags.vectors),
    )


def make_record(
    pipeline: StableDiffusionInpaintPipeline,
    photos: TaskPhotos | ViewPhotos,
    settings: TaskSettings,
    flags: TaskFlags,
) -> TrainingRecord:
    """Return what realfill.json says of this run. Raises `UserError` for foreign files."""
    files = [result_of(flags.task), *([POSE_FILE] if flags.task == "view" else [])]
    return replace(
        describe_run(pipeline, settings, flags),
        script=SCRIPT,
        files=claim(flags.output_dir, SCRIPT, files),
        prompt="" if flags.task == "harmonization" else TOKEN,
        identity={"base": fingerprint(pipeline), "photos": photos.digest()},
    )


def is_done(flags: TaskFlags, record: TrainingRecord) -> bool:
    """Say whether the output folder holds just what this run would leave."""
    previous = TrainingRecord.read(flags.output_dir)
    if not (flags.output_dir / result_of(flags.task)).exists() or not previous.script:
        return False
    decisive = ("base", "prompt", "steps", "settings", "identity")
    return comparable(record, decisive) == comparable(previous, decisive)
