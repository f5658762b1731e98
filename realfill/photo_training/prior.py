"""The loss that aligns a reconstruction prior: the base's own denoising loss."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from diffusers import DDPMScheduler, StableDiffusionInpaintPipeline
from torch import Tensor
from torch.nn import functional as F

from realfill.devices import autocast
from realfill.model.prior import Prior
from realfill.photo_training.photos import Photos, draw_crops, draw_masks
from realfill.seeds import derive_seed
from realfill.training.loss import wanted


@dataclass(frozen=True)
class Task:
    """What the aligner is trained to help with: a base on the device of the photos."""

    pipeline: StableDiffusionInpaintPipeline
    scheduler: DDPMScheduler
    photos: Photos
    size: int
    """Side of the crops in pixels."""
    batch_size: int


def alignment_loss(prior: Prior, task: Task, control: bool = False) -> Callable[[int], Tensor]:
    """Return the loss of a step: the UNet's error with the prior's embeddings for the prompt's.

    With `control`, each photo has the embeddings of another one: what the prior is worth is the
    difference.
    """
    pipeline, device = task.pipeline, task.photos.pixels.device

    def draw_loss(step: int) -> Tensor:
        seed = derive_seed("prior", step)
        generator = torch.Generator(device).manual_seed(seed)
        crops = draw_crops(task.photos, task.batch_size, task.size, generator)
        masks = draw_masks(task.batch_size, task.size, torch.Generator().manual_seed(seed))
        masks = masks.to(device)
        with torch.no_grad():
            pairs = torch.cat([crops, crops * (1 - masks)]).to(pipeline.vae.dtype)
            encoded = pipeline.vae.encode(pairs).latent_dist.mean.float()
        latents, conditions = (encoded * pipeline.vae.config.scaling_factor).chunk(2)
        noise = torch.randn(latents.shape, generator=generator, device=device)
        last = task.scheduler.config.num_train_timesteps
        timesteps = torch.randint(last, (len(crops),), generator=generator, device=device)
        noisy = task.scheduler.add_noise(latents, noise, timesteps)
        inputs = torch.cat([noisy, F.interpolate(masks, size=latents.shape[2:]), conditions], 1)
        with autocast(device):
            embeddings = prior.embed(crops, masks)
            embeddings = embeddings.roll(1, 0) if control else embeddings
            predicted = pipeline.unet(
                inputs.to(pipeline.unet.dtype), timesteps, embeddings, return_dict=False
            )[0]
        truth = wanted(task.scheduler, latents, latents, noise, timesteps)
        return F.mse_loss(predicted.float(), truth)

    return draw_loss
