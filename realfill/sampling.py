"""Sampling completions with a diffusers inpainting pipeline."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    SchedulerMixin,
    StableDiffusionInpaintPipeline,
)
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from realfill.blending import composite, grow, resize, shrink_mask, working_size
from realfill.memory import is_shortage
from realfill.models import PROMPT

SCHEDULERS: dict[str, tuple[type[SchedulerMixin], int]] = {
    "dpm": (DPMSolverMultistepScheduler, 25),
    "ddim": (DDIMScheduler, 50),
    "ddpm": (DDPMScheduler, 200),
}
"""Name to class and default number of steps; "ddpm" with 200 is the paper's."""

CPU_LATENTS_AT_ONCE = 16384
"""Latent pixels in a batch on a CPU: more gains no speed there and only takes memory."""


@dataclass(frozen=True)
class SamplingSettings:
    """What decides a completion, beside the model, the photo and the noise."""

    resolution: int
    scheduler: str = "dpm"
    num_inference_steps: int | None = None
    guidance_scale: float = 1.0
    prompt: str = PROMPT
    strength: float = 1.0
    """Share of the noise schedule to go through: under 1 starts from what the hole holds."""


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
    size = working_size(target.size, settings.resolution, pipeline.vae_scale_factor)
    photo, hole = resize(target, size), shrink_mask(grow(mask), size)
    scheduler_class, default_steps = SCHEDULERS[settings.scheduler]
    steps = settings.num_inference_steps or default_steps
    trained_scheduler = pipeline.scheduler
    pipeline.scheduler = scheduler_class.from_config(trained_scheduler.config)
    sliced_before = pipeline.vae.use_slicing
    pipeline.vae.enable_slicing()
    batch_size = batch_size or default_batch_size(pipeline, size, len(indices))
    waiting = list(indices)
    progress = tqdm(
        total=len(waiting) * steps, desc="sampling", unit="step", disable=quiet or not waiting
    )
    try:
        while waiting:
            batch = waiting[:batch_size]
            done_before = progress.n
            try:
                images = sample(
                    pipeline,
                    photo,
                    hole,
                    [seed + index for index in batch],
                    steps,
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
            for index, image in zip(batch, images, strict=True):
                yield index, composite(image, target, mask)
            waiting = waiting[len(batch) :]
    finally:
        progress.close()
        pipeline.scheduler = trained_scheduler
        # Left on by a validation, it would encode the rest of the training one crop at a time.
        pipeline.vae.use_slicing = sliced_before


@torch.no_grad()
def sample(
    pipeline: StableDiffusionInpaintPipeline,
    photo: Image.Image,
    hole: Image.Image,
    seeds: list[int],
    steps: int,
    settings: SamplingSettings,
    progress: tqdm,
) -> list[Image.Image]:
    """Sample one batch at the working size: one RGB image for each of `seeds`."""

    def advance(_pipeline, _step, _timestep, tensors: dict) -> dict:
        progress.update(len(seeds))
        return tensors

    # The photo is given once for each image, so that a generator serves its own image only.
    return pipeline(
        prompt=[settings.prompt] * len(seeds),
        image=[photo] * len(seeds),
        mask_image=[hole] * len(seeds),
        masked_image_latents=encode_known(pipeline, photo, hole, seeds, settings.strength),
        width=photo.width,
        height=photo.height,
        num_inference_steps=math.ceil(steps / settings.strength),
        strength=settings.strength,
        guidance_scale=settings.guidance_scale,
        generator=[torch.Generator().manual_seed(seed) for seed in seeds],
        callback_on_step_end=advance,
    ).images


def encode_known(
    pipeline: StableDiffusionInpaintPipeline,
    photo: Image.Image,
    hole: Image.Image,
    seeds: list[int],
    strength: float,
) -> Tensor:
    """Return the latents of `photo` without its hole for each of `seeds`, `(N, C, h, w)`.

    The pipeline would encode the same photo N times. Here it is encoded once, and the
    autoencoder's noise is drawn where the pipeline would have drawn it: after the noise that
    sampling starts from, and after that of the photo where `strength` is under 1.
    """
    vae = pipeline.vae
    size = (photo.height, photo.width)
    pixels = pipeline.image_processor.preprocess(photo, *size)
    known = pixels * (pipeline.mask_processor.preprocess(hole, *size) < 0.5)
    posterior = vae.encode(known.to(vae.device, vae.dtype)).latent_dist
    latents = []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        for _ in range(1 if strength == 1 else 2):
            posterior.sample(generator)
        latents.append(posterior.sample(generator))
    return torch.cat(latents) * vae.config.scaling_factor


def default_batch_size(
    pipeline: StableDiffusionInpaintPipeline, size: tuple[int, int], count: int
) -> int:
    """Return how many to sample at once: all on a GPU, what the caches like on a CPU."""
    if pipeline.device.type != "cpu":
        return count
    latents = size[0] * size[1] // pipeline.vae_scale_factor**2
    return max(1, min(count, CPU_LATENTS_AT_ONCE // latents))
