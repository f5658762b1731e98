"""Sampling with a diffusers inpainting pipeline as far as the latents, and decoding them."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

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

from realfill.model.decoder import HarmonizingDecoder
from realfill.model.prior import Prior
from realfill.sampling.detail import keep_detail
from realfill.settings import SamplingSettings

SCHEDULERS: dict[str, Callable[..., SchedulerMixin]] = {
    "dpm": partial(DPMSolverMultistepScheduler.from_config, algorithm_type="sde-dpmsolver++"),
    "ddim": DDIMScheduler.from_config,
    "ddpm": DDPMScheduler.from_config,
}
"""Name to what makes it from a base's schedule; "ddpm" is the paper's.

Like it, "dpm" draws new noise in every step; without, completions fit their surroundings less.
"""


@contextmanager
def scheduled(pipeline: StableDiffusionInpaintPipeline, name: str) -> Iterator[None]:
    """Let `pipeline` sample with the scheduler `name` for a while, then with its own again."""
    trained_scheduler = pipeline.scheduler
    pipeline.scheduler = SCHEDULERS[name](trained_scheduler.config)
    try:
        yield
    finally:
        pipeline.scheduler = trained_scheduler


@torch.no_grad()
def sample_latents(
    pipeline: StableDiffusionInpaintPipeline,
    photos: Sequence[Image.Image] | Tensor,
    masks: Sequence[Image.Image] | Tensor,
    settings: SamplingSettings,
    generator: torch.Generator | list[torch.Generator],
    advance: Callable[[], object] = lambda: None,
    embeddings: Tensor | None = None,
) -> Tensor:
    """Return the latents `(N, C, H / f, W / f)` of fillings, as the autoencoder decodes them.

    `photos` are of one size, as RGB or `(N, 3, H, W)` in [0, 1]; `masks` as L or `(N, 1, H, W)`, 1
    where to fill. `generator` is of all, or each has its own, which serves it alone whatever else
    is sampled. The pipeline's scheduler samples, see `scheduled`. `advance` is called after every
    step. `embeddings`, `(1, tokens, channels)`, stand in for the prompt's.
    """
    if isinstance(photos, Tensor):
        height, width = photos.shape[2:]
    else:
        width, height = photos[0].size

    def step_ended(_pipeline, _step, _timestep, tensors: dict) -> dict:
        advance()
        return tensors

    with encoding_once(pipeline.vae):
        latents = pipeline(
            prompt=[settings.prompt] * len(photos) if embeddings is None else None,
            prompt_embeds=None if embeddings is None else embeddings.expand(len(photos), -1, -1),
            image=photos,
            mask_image=masks,
            width=width,
            height=height,
            num_inference_steps=min(
                math.ceil(settings.num_inference_steps / settings.strength),
                pipeline.scheduler.config.num_train_timesteps,
            ),
            strength=settings.strength,
            guidance_scale=settings.guidance_scale,
            generator=generator,
            callback_on_step_end=step_ended,
            output_type="latent",
        ).images
    return latents / pipeline.vae.config.scaling_factor


@torch.no_grad()
def embed(
    pipeline: StableDiffusionInpaintPipeline, prior: Prior, photo: Image.Image, hole: Image.Image
) -> Tensor:
    """Return the embeddings `(1, tokens, channels)` that a prior has of the known pixels."""
    known = pipeline.image_processor.preprocess(photo).to(pipeline.device)
    mask = pipeline.mask_processor.preprocess(hole).to(pipeline.device)
    return prior.embed(known, mask).to(pipeline.unet.dtype)


@torch.no_grad()
def decode(
    pipeline: StableDiffusionInpaintPipeline,
    latents: Tensor,
    photo: Image.Image,
    hole: Image.Image,
    decoder: HarmonizingDecoder | None,
) -> Tensor:
    """Return pictures `(N, 3, H, W)` in [0, 1] of latents that fill the `hole` (L) of `photo`.

    Without a `decoder` the autoencoder's own decodes alone, which does not see the photo.
    """
    pictures = pipeline.vae.decode(latents).sample
    if decoder is not None:
        known = pipeline.image_processor.preprocess(photo).to(latents)
        mask = pipeline.mask_processor.preprocess(hole).to(latents)
        seen = torch.cat([decoder(each, known, mask) for each in latents.split(1)])
        pictures = keep_detail(pictures, seen, mask, pipeline.vae_scale_factor)
    return pipeline.image_processor.denormalize(pictures)


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
