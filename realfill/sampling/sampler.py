"""Sampling completions with a diffusers inpainting pipeline."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    SchedulerMixin,
    StableDiffusionInpaintPipeline,
)
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from realfill.devices import is_shortage
from realfill.errors import UserError
from realfill.images.blend import resize, sampled_mask, size_in_multiples
from realfill.images.seams import blend
from realfill.settings import SamplingSettings

SCHEDULERS: dict[str, Callable[..., SchedulerMixin]] = {
    "dpm": partial(DPMSolverMultistepScheduler.from_config, algorithm_type="sde-dpmsolver++"),
    "ddim": DDIMScheduler.from_config,
    "ddpm": DDPMScheduler.from_config,
}
"""Name to what makes it from a base's schedule; "ddpm" is the paper's.

Like it, "dpm" draws new noise in every step; without, completions fit their surroundings less.
"""

CPU_LATENTS_AT_ONCE = 16384
"""Latent pixels in a batch on a CPU: more gains no speed there and only takes memory."""


def complete(
    pipeline: StableDiffusionInpaintPipeline,
    target: Image.Image,
    mask: Image.Image,
    indices: Sequence[int],
    seed: int,
    settings: SamplingSettings,
    batch_size: int | None = None,
    quiet: bool = False,
) -> Iterator[tuple[int, Image.Image]]:
    """Yield `(index, completion)`: RGB in the target's size, blended into it.

    Completion i starts from noise drawn with `seed + i` alone, whatever the batch. A batch that
    does not fit into memory is halved. `pipeline` is left as it was. Where the mask is empty there
    is nothing to sample, and each completion is the target.
    """
    if not mask.getbbox():
        yield from ((index, target) for index in indices)
        return
    size = size_in_multiples(target.size, settings.resolution, pipeline.vae_scale_factor)
    photo, hole = resize(target, size), sampled_mask(mask, size)
    images = sample_all(pipeline, [photo], hole, indices, seed, settings, batch_size, quiet)
    yield from ((index, blend(image, target, mask)) for index, image in images)


def sample_all(
    pipeline: StableDiffusionInpaintPipeline,
    views: Sequence[Image.Image],
    hole: Image.Image,
    indices: Sequence[int],
    seed: int,
    settings: SamplingSettings,
    batch_size: int | None = None,
    quiet: bool = False,
) -> Iterator[tuple[int, Image.Image]]:
    """Yield `(index, image)`: RGB as the model gives it, at the size of `hole` (L).

    `views` are one photo of that size, or several that are sampled side by side from the same
    noise, of which the first one's image comes back.
    """
    trained_scheduler = pipeline.scheduler
    pipeline.scheduler = SCHEDULERS[settings.scheduler](trained_scheduler.config)
    sliced_before = pipeline.vae.use_slicing
    pipeline.vae.enable_slicing()
    size = (hole.width * len(views), hole.height)
    batch_size = batch_size or default_batch_size(pipeline, size, len(indices))
    waiting = list(indices)
    progress = tqdm(
        total=len(waiting) * settings.num_inference_steps,
        desc="sampling",
        unit="step",
        disable=quiet or not waiting,
    )
    try:
        while waiting:
            batch = waiting[:batch_size]
            done_before = progress.n
            try:
                images = sample(
                    pipeline,
                    views,
                    hole,
                    [seed + index for index in batch],
                    settings,
                    progress,
                )
            except (RuntimeError, MemoryError) as error:
                if batch_size == 1 or not is_shortage(error):
                    raise
                batch_size //= 2
                progress.n = done_before
                progress.write(f"out of memory: going on with {batch_size} at once")
                torch.cuda.empty_cache()
                continue
            yield from zip(batch, images, strict=True)
            waiting = waiting[len(batch) :]
    finally:
        progress.close()
        pipeline.scheduler = trained_scheduler
        # Left on by a validation, it would encode the rest of the training one crop at a time.
        pipeline.vae.use_slicing = sliced_before


@torch.no_grad()
def sample(
    pipeline: StableDiffusionInpaintPipeline,
    views: Sequence[Image.Image],
    hole: Image.Image,
    seeds: list[int],
    settings: SamplingSettings,
    progress: tqdm,
) -> list[Image.Image]:
    """Sample one batch at the sampling size: one RGB image for each of `seeds`, of the first view.

    The views of a seed follow one another in the batch.
    """
    photos = list(views) * len(seeds)

    def advance(_pipeline, _step, _timestep, tensors: dict) -> dict:
        progress.update(len(seeds))
        return tensors

    # The photo is given once for each image, so that a generator serves its own image only.
    with encoding_once(pipeline.vae):
        pixels = pipeline(
            prompt=[settings.prompt] * len(photos),
            image=photos,
            mask_image=[hole] * len(photos),
            width=hole.width,
            height=hole.height,
            num_inference_steps=min(
                math.ceil(settings.num_inference_steps / settings.strength),
                pipeline.scheduler.config.num_train_timesteps,
            ),
            strength=settings.strength,
            guidance_scale=settings.guidance_scale,
            generator=[torch.Generator().manual_seed(seed) for seed in seeds for _ in views],
            callback_on_step_end=advance,
            output_type="np",
        ).images[:: len(views)]
    if not np.isfinite(pixels).all():
        raise UserError(
            f"the completion of seed {seeds[0]}, or one sampled with it, is not finite: the model "
            "is damaged, or needs --mixed_precision bf16 or no; it was not written"
        )
    return pipeline.numpy_to_pil(pixels)


@contextmanager
def encoding_once(vae: AutoencoderKL) -> Iterator[None]:
    """Let `vae` encode equal images once: the pipeline gives it a photo for each completion."""
    encode, encoded = vae.encode, []

    def look_up(image: Tensor) -> AutoencoderKLOutput:
        for known, output in encoded:
            if torch.equal(known, image):
                return output
        encoded.append((image, encode(image)))
        return encoded[-1][1]

    vae.encode = look_up
    try:
        yield
    finally:
        del vae.encode  # the class has the method itself


def default_batch_size(
    pipeline: StableDiffusionInpaintPipeline, size: tuple[int, int], count: int
) -> int:
    """Return how many to sample at once: all on a GPU, what the caches like on a CPU."""
    if pipeline.device.type != "cpu":
        return count
    latents = size[0] * size[1] // pipeline.vae_scale_factor**2
    return max(1, min(count, CPU_LATENTS_AT_ONCE // latents))
