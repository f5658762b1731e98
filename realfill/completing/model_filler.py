"""Filling with an inpainting model: loads it, and samples what geometry leaves."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace

from accelerate import PartialState
from diffusers import StableDiffusionInpaintPipeline

from realfill.canvas.tokens import add_tokens, read_tokens
from realfill.completing.fillers import from_exemplars
from realfill.completing.job import Completion, Filler, ModelFlags, Rest
from realfill.devices import DTYPES, choose_precision
from realfill.errors import UserError
from realfill.model.base import native_resolution
from realfill.model.decoder import find_decoder, load_decoder
from realfill.model.integrity import fingerprint
from realfill.model.load import load_adapted
from realfill.model.parts import WEIGHTS_FILE
from realfill.model.prior import load_prior
from realfill.provenance import SAMPLED
from realfill.record import TrainingRecord
from realfill.sampling.sampler import complete
from realfill.scene import Scene
from realfill.settings import DEFAULT_STEPS, SamplingSettings
from realfill.storage import file_hash


def model_filler(flags: ModelFlags, seed: int, state: PartialState) -> Filler:
    """Load the model onto the device and return the filler that samples with it.

    Raises `UserError`.
    """
    pipeline, record, precision = load_model(flags, state)
    identity = fingerprint(pipeline)
    sampling = settle(flags, record, pipeline)
    decoder_folder = find_decoder(flags.decoder, pipeline)
    decoder = load_decoder(decoder_folder, pipeline) if decoder_folder else None
    prior = load_prior(flags.prior, pipeline) if flags.prior else None

    def fill(scene: Scene, rest: Rest, indices: Sequence[int]) -> Iterator[tuple[int, Completion]]:
        target, strength = rest.scene.target, rest.strength
        if flags.strength is not None and rest.scene.mask.getbbox():
            [(_, filling)] = from_exemplars(rest, [0], seed)
            target, strength = filling.image, flags.strength
        images = complete(
            pipeline,
            target,
            rest.scene.mask,
            indices,
            seed,
            replace(sampling, strength=strength),
            flags.batch_size,
            quiet=not state.is_main_process,
            decoder=decoder,
            prior=prior,
        )
        yield from ((index, Completion(image)) for index, image in images)

    settings = asdict(sampling) | {
        "seed": seed,
        "mixed_precision": precision,
        "model": identity,
    }
    if decoder_folder:  # a folder made without one has no such entry in its record
        settings["decoder"] = file_hash(decoder_folder / WEIGHTS_FILE)
    if flags.prior:
        settings["prior"] = file_hash(flags.prior / WEIGHTS_FILE)
    if flags.task_tokens is not None:
        settings["task_tokens"] = file_hash(flags.task_tokens)
    if flags.strength is None:
        del settings["strength"]  # it follows from the photos
    return Filler(settings, fill, SAMPLED)


def load_model(
    flags: ModelFlags, state: PartialState
) -> tuple[StableDiffusionInpaintPipeline, TrainingRecord, str]:
    """Load the model onto the device; return it with its record and the precision.

    Raises `UserError`.
    """
    if flags.model_path is None:
        raise UserError("--fill model and --fill canvas need a --model_path")
    precision = choose_precision(state.device, flags.mixed_precision)
    state.print(
        f"device {state.device.type}, {state.num_processes} process(es), precision {precision}"
    )
    pipeline, record = load_adapted(
        flags.model_path, DTYPES[precision], flags.pretrained_model_name_or_path, flags.base_only
    )
    return pipeline.to(state.device), record, precision


def settle(
    flags: ModelFlags, record: TrainingRecord, pipeline: StableDiffusionInpaintPipeline
) -> SamplingSettings:
    """Return the sampling settings: asked for, recorded by training, or the default.

    Task tokens become known to `pipeline`, and are the prompt if no other is asked for. Raises
    `UserError`.
    """
    prompt = record.prompt
    if flags.task_tokens is not None:
        prompt = add_tokens(pipeline, read_tokens(flags.task_tokens), str(flags.task_tokens))
    native = native_resolution(pipeline)
    return SamplingSettings(
        resolution=flags.resolution or record.settings.get("resolution") or native,
        scheduler=flags.scheduler,
        num_inference_steps=flags.num_inference_steps or DEFAULT_STEPS[flags.scheduler],
        guidance_scale=flags.guidance_scale,
        prompt=prompt if flags.prompt is None else flags.prompt,
        strength=1.0 if flags.strength is None else flags.strength,
    )
