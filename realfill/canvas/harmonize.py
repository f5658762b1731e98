"""Giving what was pasted the photo's light, by a LoRA that was trained for it (SEELE)."""

import torch
from diffusers import StableDiffusionInpaintPipeline
from PIL import Image

from realfill.images.blend import resize, sampled_mask, size_in_multiples
from realfill.images.seams import blend
from realfill.sampling.latents import scheduled
from realfill.settings import SamplingSettings

STRENGTH = 0.5
"""Share of the noise schedule that the pasted goes through: its shape stays."""


@torch.no_grad()
def harmonize(
    pipeline: StableDiffusionInpaintPipeline,
    photo: Image.Image,
    mask: Image.Image,
    seed: int,
    settings: SamplingSettings,
) -> Image.Image:
    """Return `photo` (RGB) with what is in `mask` (L) brought to the light around it.

    The model is shown the whole photo, not one with a hole (arXiv 2401.16861, section 3).
    """
    size = size_in_multiples(photo.size, settings.resolution, pipeline.vae_scale_factor)
    small = resize(photo, size)
    pixels = pipeline.image_processor.preprocess(small).to(pipeline.device, pipeline.vae.dtype)
    shown = pipeline.vae.encode(pixels).latent_dist.mean * pipeline.vae.config.scaling_factor
    with scheduled(pipeline, settings.scheduler):
        image = pipeline(
            prompt=settings.prompt,
            image=small,
            mask_image=sampled_mask(mask, size),
            masked_image_latents=shown,
            width=size[0],
            height=size[1],
            strength=STRENGTH,
            num_inference_steps=2 * settings.num_inference_steps,
            guidance_scale=settings.guidance_scale,
            generator=torch.Generator().manual_seed(seed),
        ).images[0]
    return blend(image, photo, mask)
