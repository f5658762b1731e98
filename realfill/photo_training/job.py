"""Training a part for a base: from what is asked of it to what lies in its output folder."""

import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from diffusers import ConfigMixin, ModelMixin, StableDiffusionInpaintPipeline

from realfill.command_line import quiet_libraries
from realfill.devices import DTYPES, choose_precision, start_process
from realfill.errors import UserError
from realfill.lock import one_writer
from realfill.model.attention import attend_on_cpu
from realfill.model.base import load_base, native_resolution
from realfill.model.decoder import BELONGS_TO, WEIGHTS_FILE, HarmonizingDecoder
from realfill.model.integrity import fingerprints
from realfill.photo_training.decoder import Source, decoding_loss
from realfill.photo_training.loop import (
    LOG_FILE,
    STATE_FILE,
    Plan,
    late_fall,
    read_progress,
    train,
)
from realfill.photo_training.photos import list_photos, upload_photos
from realfill.record import PartRecord, all_versions, claim
from realfill.storage import UMASK, replaced_together

DECODER_SCRIPT = "train_decoder.py"
FILES = ("config.json", WEIGHTS_FILE, STATE_FILE, LOG_FILE)


@dataclass(frozen=True)
class PartFlags:
    """What is asked of the training of a part, by the flags of its script."""

    photos: Path
    base: str
    output_dir: Path
    resolution: int | None = None
    max_train_steps: int | None = None
    max_minutes: float | None = None
    train_batch_size: int = 16
    learning_rate: float = 5e-4
    held_out: int = 0


def train_decoder(flags: PartFlags) -> None:
    """Train a decoder for a base and leave it in the output folder, with that to itself.

    A run that was stopped goes on from where it was saved last. Raises `UserError`.
    """
    quiet_libraries()
    state = start_process()
    with one_writer(flags.output_dir):
        paths, _ = list_photos(flags.photos, flags.held_out)
        pipeline = load_base(flags.base, torch.float32)
        size = flags.resolution or native_resolution(pipeline)
        record = begin_record(flags, DECODER_SCRIPT, pipeline, BELONGS_TO, size, len(paths))
        if record is None:
            state.print(f"{flags.output_dir}: trained already")
            return
        decoder = HarmonizingDecoder.from_autoencoder(pipeline.vae).to(state.device)
        pipeline.to(state.device, DTYPES[choose_precision(state.device, None)])
        if state.device.type == "cpu":
            pipeline.unet.set_attn_processor(attend_on_cpu)
        photos = upload_photos(paths, size, state.device)
        source = Source(pipeline, photos, size, flags.train_batch_size)
        trained = train(decoder, decoding_loss(decoder, source), make_plan(flags), flags.output_dir)
        write_part(flags.output_dir, trained, record)


def make_plan(flags: PartFlags) -> Plan:
    """Return how long and how fast to train."""
    seconds = 60 * flags.max_minutes if flags.max_minutes else None
    return Plan(flags.learning_rate, flags.max_train_steps, seconds, late_fall)


def begin_record(
    flags: PartFlags,
    script: str,
    pipeline: StableDiffusionInpaintPipeline,
    belongs_to: tuple[str, ...],
    size: int,
    photo_count: int,
) -> PartRecord | None:
    """Write down that the training begins, or return None if it is finished.

    Raises `UserError` if the output folder holds something else, or another training.
    """
    folder = flags.output_dir
    settings = asdict(flags) | {"resolution": size, "photos": photo_count}
    for name in ("output_dir", "base", "max_train_steps", "max_minutes"):
        del settings[name]
    record = PartRecord(
        script=script,
        files=claim(folder, script, FILES),
        settings=settings,
        versions=all_versions(),
        base=flags.base,
        base_fingerprints=fingerprints(pipeline, belongs_to),
    )
    before = PartRecord.read(folder)
    if before.script and before.base_fingerprints != record.base_fingerprints:
        raise UserError(f"{folder}: was begun for another base; choose another --output_dir")
    for name, value in record.settings.items():
        if before.script and before.settings.get(name) != value:
            raise UserError(
                f"{folder}: was begun with {name} {before.settings.get(name)}, this run has "
                f"{value}; give the same, or another --output_dir"
            )
    if before.steps:
        return None
    record.write(folder)
    return record


def write_part(folder: Path, part: ModelMixin | ConfigMixin, record: PartRecord) -> None:
    """Write a trained part as fp16 and its record, in place of the state of its training."""
    steps, _ = read_progress(folder / STATE_FILE)
    with replaced_together(folder, outdated=[STATE_FILE]) as temporary:
        part.half().save_pretrained(temporary)
        for path in temporary.iterdir():
            os.chmod(path, 0o666 & ~UMASK)  # safetensors keeps it to the owner
        replace(record, steps=steps).write(temporary)
