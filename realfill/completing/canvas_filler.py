"""Filling on the reference canvas: a frozen model looks at a reference beside the photo."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace

from accelerate import PartialState
from diffusers import StableDiffusionInpaintPipeline
from PIL import Image

from realfill.canvas.attention import attending
from realfill.canvas.bias import STRENGTHS, Bias, in_units
from realfill.canvas.layout import lay_out
from realfill.canvas.references import Tied, choose_references
from realfill.completing.job import Completion, Filler, ModelFlags, Rest
from realfill.completing.model_filler import load_model, settle
from realfill.images.seams import blend
from realfill.model.integrity import fingerprint
from realfill.provenance import SAMPLED
from realfill.sampling.sampler import sample_all
from realfill.scene import Scene
from realfill.settings import SamplingSettings
from realfill.storage import file_hash


def canvas_filler(flags: ModelFlags, seed: int, state: PartialState) -> Filler:
    """Load the model onto the device and return the filler that samples on the canvas with it.

    Raises `UserError`.
    """
    pipeline, record, precision = load_model(flags, state)
    identity = fingerprint(pipeline)  # without the tokens, which have a hash of their own
    sampling = settle(flags, record, pipeline)

    def fill(scene: Scene, rest: Rest, indices: Sequence[int]) -> Iterator[tuple[int, Completion]]:
        tied = choose_references(scene, flags.canvas_references)
        state.print("canvas: " + ", ".join(f"{t.name} ({t.matches} matches)" for t in tied))
        if not rest.scene.mask.getbbox():
            yield from ((index, Completion(rest.scene.target)) for index in indices)
            return
        images = sample_canvas(
            pipeline,
            rest.scene.target,
            rest.scene.mask,
            tied,
            indices,
            seed,
            replace(sampling, strength=flags.strength or rest.strength),
            flags.canvas_bias,
            flags.batch_size,
            quiet=not state.is_main_process,
        )
        for index, image in images:
            yield index, Completion(blend(image, rest.scene.target, rest.scene.mask))

    settings = asdict(sampling) | {
        "fill": "canvas",
        "seed": seed,
        "mixed_precision": precision,
        "model": identity,
        "task_tokens": flags.task_tokens and file_hash(flags.task_tokens),
        "canvas_references": flags.canvas_references,
        "canvas_bias": flags.canvas_bias,
    }
    if flags.strength is None:
        del settings["strength"]  # it follows from the photos
    return Filler(settings, fill, SAMPLED)


def sample_canvas(
    pipeline: StableDiffusionInpaintPipeline,
    photo: Image.Image,
    mask: Image.Image,
    tied: Sequence[Tied],
    indices: Sequence[int],
    seed: int,
    settings: SamplingSettings,
    bias_strength: str = "off",
    batch_size: int | None = None,
    quiet: bool = False,
) -> Iterator[tuple[int, Image.Image]]:
    """Yield `(index, image)`: the photo's panel as the model gives it, at the sampling size.

    `tied` are the references, one a view; `bias_strength` is one of `STRENGTHS`. Image i starts
    from noise drawn with `seed + i` alone.
    """
    factor = pipeline.vae_scale_factor
    references = [each.photo for each in tied]
    canvas = lay_out(photo, mask, references, settings.resolution, factor)
    bias, (width, height) = None, canvas.size
    if STRENGTHS[bias_strength] and any(each.transform is not None for each in tied):
        shares = [in_units(each.transform, photo.size, each.photo.size) for each in tied]
        latents = (height // factor, width // factor)
        bias = Bias(canvas, shares, STRENGTHS[bias_strength], latents)
    views = canvas.views
    with attending(pipeline.unet, len(views), bias):
        images = sample_all(
            pipeline, views, canvas.mask, indices, seed, settings, batch_size, quiet
        )
        for index, image in images:
            yield index, canvas.photo_of(image)
