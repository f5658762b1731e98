"""Training a part for a base: from what is asked of it to what lies in its output folder."""

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from diffusers import ModelMixin, StableDiffusionInpaintPipeline
from torch import Tensor

from realfill.command_line import quiet_libraries
from realfill.devices import DTYPES, choose_precision, start_process
from realfill.errors import UserError
from realfill.lock import one_writer
from realfill.model import decoder, prior
from realfill.model.attention import attend_on_cpu
from realfill.model.base import load_base, native_resolution
from realfill.model.decoder import HarmonizingDecoder
from realfill.model.integrity import fingerprints
from realfill.model.parts import WEIGHTS_FILE
from realfill.model.prior import DEFAULT_AUTOENCODER, Aligner, Prior, load_autoencoder
from realfill.photo_training.decoder import Source, decoding_loss
from realfill.photo_training.loop import (
    LOG_FILE,
    STATE_FILE,
    Plan,
    late_fall,
    read_progress,
    train,
)
from realfill.photo_training.photos import Photos, list_photos, upload_photos
from realfill.photo_training.prior import Task, alignment_loss
from realfill.record import PartRecord, all_versions, claim
from realfill.storage import UMASK, replaced_together
from realfill.training.build import make_noise_scheduler

DECODER_SCRIPT, PRIOR_SCRIPT = "train_decoder.py", "train_prior.py"
FILES = ("config.json", WEIGHTS_FILE, STATE_FILE, LOG_FILE)
HEAD_WIDTH = 64
"""Of the aligner's attention heads, in channels."""


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


@dataclass(frozen=True)
class PriorFlags(PartFlags):
    """The same of a reconstruction prior."""

    autoencoder: str = DEFAULT_AUTOENCODER
    control: bool = False


MakeLoss = Callable[
    [StableDiffusionInpaintPipeline, Photos, int], tuple[ModelMixin, Callable[[int], Tensor]]
]
"""From the base, the photos and the crops' side to what trains and its loss."""


def train_decoder(flags: PartFlags) -> None:
    """Train a decoder for a base and leave it in the output folder; see `train_part`."""

    def make_loss(
        pipeline: StableDiffusionInpaintPipeline, photos: Photos, size: int
    ) -> tuple[ModelMixin, Callable[[int], Tensor]]:
        # In full precision, before the base is brought to another.
        part = HarmonizingDecoder.from_autoencoder(pipeline.vae).to(pipeline.device)
        source = Source(pipeline, photos, size, flags.train_batch_size)
        return part, decoding_loss(part, source)

    train_part(flags, DECODER_SCRIPT, decoder.BELONGS_TO, make_loss)


def train_prior(flags: PriorFlags) -> None:
    """Train the aligner of a prior and leave it in the output folder; see `train_part`."""
    autoencoder = load_autoencoder(flags.autoencoder)

    def make_loss(
        pipeline: StableDiffusionInpaintPipeline, photos: Photos, size: int
    ) -> tuple[ModelMixin, Callable[[int], Tensor]]:
        width = pipeline.unet.config.cross_attention_dim
        aligner = Aligner(
            autoencoder.config.decoder_hidden_size, width, heads=max(1, width // HEAD_WIDTH)
        ).to(pipeline.device)
        whole = Prior(autoencoder.to(pipeline.device), aligner)
        scheduler = make_noise_scheduler(pipeline)
        task = Task(pipeline, scheduler, photos, size, flags.train_batch_size)
        return aligner, alignment_loss(whole, task, flags.control)

    train_part(flags, PRIOR_SCRIPT, prior.BELONGS_TO, make_loss)


def train_part(
    flags: PartFlags, script: str, belongs_to: tuple[str, ...], make_loss: MakeLoss
) -> None:
    """Train what `make_loss` returns and leave it in the output folder, with that to itself.

    A run that was stopped goes on from where it was saved last. Raises `UserError`.
    """
    quiet_libraries()
    state = start_process()
    with one_writer(flags.output_dir):
        paths, _ = list_photos(flags.photos, flags.held_out)
        pipeline = load_base(flags.base, torch.float32)
        size = flags.resolution or native_resolution(pipeline)
        record = begin_record(flags, script, pipeline, belongs_to, size, len(paths))
        if record is None:
            state.print(f"{flags.output_dir}: trained already")
            return
        for model in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
            model.requires_grad_(False)
        photos = upload_photos(paths, size, state.device)
        torch.manual_seed(0)
        part, draw_loss = make_loss(pipeline.to(state.device), photos, size)
        pipeline.to(DTYPES[choose_precision(state.device, None)])
        if state.device.type == "cpu":
            pipeline.unet.set_attn_processor(attend_on_cpu)
        trained = train(part, draw_loss, make_plan(flags), flags.output_dir)
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


def write_part(folder: Path, part: ModelMixin, record: PartRecord) -> None:
    """Write a trained part as fp16 and its record, in place of the state of its training."""
    steps, _ = read_progress(folder / STATE_FILE)
    with replaced_together(folder, outdated=[STATE_FILE]) as temporary:
        part.half().save_pretrained(temporary)
        for path in temporary.iterdir():
            os.chmod(path, 0o666 & ~UMASK)  # safetensors keeps it to the owner
        replace(record, steps=steps).write(temporary)
