"""The KL autoencoder: 4 times smaller each way, 4 channels."""

from collections.abc import Callable

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from realfill.devices import autocast
from realfill.photo_training.photos import Photos, draw_crops
from realfill.seeds import derive_seed
from realfill.training.masks import random_rectangles
from scripts.tiny_base import SIZE

CROP = 64
KL_WEIGHT = 1e-7
"""Of the divergence summed over a crop's latents: enough to keep their scale, little noise."""
LOG_VARIANCE = -20.0


def build_autoencoder() -> AutoencoderKL:
    """Build the untrained autoencoder: 128 x 128 x 3 to 32 x 32 x 4 and back."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(24, 48, 96),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=SIZE,
    )


@torch.no_grad()
def silence_posterior(autoencoder: AutoencoderKL) -> None:
    """Let the encoder's posterior have no spread, so that sampling it returns its mean.

    The spread of a briefly trained encoder is a fifth of the latents': noise in the masked
    image's latents, and in every training target.
    """
    channels = autoencoder.config.latent_channels
    autoencoder.quant_conv.weight[channels:] = 0
    autoencoder.quant_conv.bias[channels:] = LOG_VARIANCE


def reconstruction_loss(
    autoencoder: AutoencoderKL, photos: Photos, batch_size: int
) -> Callable[[int], Tensor]:
    """Return the loss of a step: on pixels and on their gradients, with a light KL term.

    A third of the crops carry a grey hole, as the masked image does that the UNet is given.
    """
    device = photos.pixels.device

    def draw_loss(step: int) -> Tensor:
        torch.manual_seed(derive_seed(0, step))  # the posterior's noise
        host, generator = (
            torch.Generator(place).manual_seed(derive_seed(1, step)) for place in ("cpu", device)
        )
        crops = draw_crops(photos, batch_size, CROP, generator)
        masked = batch_size // 3
        holes = random_rectangles(masked, CROP, host).to(device, non_blocking=True)
        crops[:masked] *= 1 - holes
        with autocast(device):
            posterior = autoencoder.encode(crops).latent_dist
            decoded = autoencoder.decode(posterior.sample()).sample
        difference = decoded.float() - crops
        loss = difference.abs().mean() + difference.square().mean()
        for axis in (-1, -2):
            loss = loss + 0.5 * difference.diff(dim=axis).abs().mean()
        return loss + KL_WEIGHT * posterior.kl().float().mean()

    return draw_loss


@torch.no_grad()
def latent_scale(autoencoder: AutoencoderKL, photos: Photos) -> float:
    """Return the factor that brings latents of photos to unit standard deviation."""
    generator = torch.Generator(photos.pixels.device).manual_seed(0)
    crops = draw_crops(photos, 128, SIZE, generator)
    latents = torch.cat([autoencoder.encode(part).latent_dist.mean for part in crops.split(16)])
    return 1 / latents.std().item()
