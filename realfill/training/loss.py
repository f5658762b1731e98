"""The loss of RealFill (arXiv 2309.16668, equation 2)."""

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDPMScheduler
from torch import Tensor, nn

from realfill.placement import upload
from realfill.training.latent_pool import EncodedDraws

PROMPT_DROPPED = 0.1
"""Share of the samples that train with an empty prompt."""


def diffusion_loss(
    unet: nn.Module,
    noise_scheduler: DDPMScheduler,
    vae: AutoencoderKL,
    embeddings: Tensor,
    draws: EncodedDraws,
    generator: torch.Generator,
) -> Tensor:
    """Return the denoising loss of `draws`, counted where the photo is known.

    `embeddings` are those of the prompt and of the empty prompt, `(2, tokens, channels)`, or
    `(N + 1, tokens, channels)` if each draw has a prompt of its own.
    """
    latents, conditions = draw_latents(vae, draws, generator)
    given = (latents, conditions, latents, draws)
    return denoising_loss(unet, noise_scheduler, vae.dtype, embeddings, *given, generator)


def draw_latents(
    vae: AutoencoderKL, draws: EncodedDraws, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return both latents of each draw, `(N, C, h, w)` with about unit deviation."""
    spread = upload(torch.randn(draws.means.shape, generator=generator), draws.means.device)
    encoded = (draws.means + draws.deviations * spread) * vae.config.scaling_factor
    first, second = encoded.float().unbind(1)
    return first, second


def denoising_loss(
    unet: nn.Module,
    noise_scheduler: DDPMScheduler,
    dtype: torch.dtype,
    embeddings: Tensor,
    latents: Tensor,
    conditions: Tensor,
    goals: Tensor,
    draws: EncodedDraws,
    generator: torch.Generator,
) -> Tensor:
    """Return the error of what is predicted from `latents` under noise, beside `conditions`.

    The noise is asked for that leads to `goals`, which are the latents themselves if a photo is to
    be restored: `noise + latents - goals` (SEELE, arXiv 2401.16861, on harmonization).
    """
    device, count = latents.device, len(latents)
    noise = upload(torch.randn(latents.shape, generator=generator), device)
    last = noise_scheduler.config.num_train_timesteps
    timesteps = upload(torch.randint(last, (count,), generator=generator), device)
    dropped = upload(torch.rand(count, generator=generator) < PROMPT_DROPPED, device)
    empty = len(embeddings) - 1
    prompts = torch.arange(count, device=device) if empty == count else 0
    noisy = noise_scheduler.add_noise(latents, noise, timesteps)

    predicted = unet(
        torch.cat([noisy, draws.masks, conditions], dim=1).to(dtype),
        timesteps,
        embeddings[torch.where(dropped, empty, prompts)],
        return_dict=False,
    )[0]
    truth = wanted(noise_scheduler, latents, goals, noise, timesteps)
    return (draws.known * F.mse_loss(predicted.float(), truth, reduction="none")).mean()


def wanted(
    noise_scheduler: DDPMScheduler, latents: Tensor, goals: Tensor, noise: Tensor, timesteps: Tensor
) -> Tensor:
    """Return what the UNet should predict, the noise or v, for it to lead to `goals`."""
    if noise_scheduler.config.prediction_type == "v_prediction":
        return noise_scheduler.get_velocity(goals, noise, timesteps)
    return noise + (latents - goals)
