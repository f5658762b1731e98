"""The UNet on the autoencoder's latents: the objective of latent diffusion (arXiv 2112.10752).

It predicts v, with zero terminal signal-to-noise ratio (arXiv 2305.08891): trained as shortly as
this, epsilon-prediction ignores the surroundings of the hole.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMScheduler,
    StableDiffusionInpaintPipeline,
    UNet2DConditionModel,
)
from torch import Tensor

from realfill.devices import autocast
from realfill.photo_training.photos import Photos, draw_crops, draw_masks
from realfill.seeds import derive_seed
from scripts.tiny_base import SIZE

PROMPTS = ("", "a photo", "a photo of sks")
POOL_SIZE = 8192
USES = 8
"""How often an encoded crop is trained on, each time with another noise and timestep."""
ENCODED_AT_ONCE = 32
TIMESTEP_SHIFT = 3.0
"""Half of the timesteps lie above three quarters."""
KNOWN_WEIGHT = 0.25
"""Of an error at a known latent, beside 1 in the hole: the composite replaces known pixels."""


def build_unet() -> UNet2DConditionModel:
    """Build the untrained 9-channel UNet; heads are 32 wide, which a CPU runs fastest."""
    return UNet2DConditionModel(
        sample_size=SIZE // 4,
        in_channels=9,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(64, 96, 192),
        layers_per_block=1,
        attention_head_dim=(2, 3, 6),
        cross_attention_dim=64,
        norm_num_groups=16,
        use_linear_projection=True,
    )


def make_scheduler() -> DDIMScheduler:
    """Return the noise schedule: SD's, rescaled to zero terminal SNR, v-prediction."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=1,
    )


@dataclass
class LatentPool:
    """Encoded crops, the oldest replaced by new ones: encoding costs more than a training step."""

    latents: Tensor
    """`(N, C, S, S)` with unit standard deviation."""
    conditions: Tensor
    """`(N, C, S, S)`: latents of the crops with a grey hole."""
    masks: Tensor
    """`(N, 1, S, S)` of 0 (known) and 1 (to fill)."""
    written: int = 0

    def add(self, latents: Tensor, conditions: Tensor, masks: Tensor) -> None:
        """Write a batch over the oldest entries."""
        rows = (self.written + torch.arange(len(masks))) % len(self.masks)
        rows = rows.to(self.masks.device)
        self.latents[rows], self.conditions[rows], self.masks[rows] = latents, conditions, masks
        self.written += len(masks)

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Draw `count` entries with replacement: latents, conditions, masks."""
        limit, device = min(self.written, len(self.masks)), self.masks.device
        rows = torch.randint(limit, (count,), generator=generator, device=device)
        return self.latents[rows], self.conditions[rows], self.masks[rows]


@torch.no_grad()
def encode_crops(
    vae: AutoencoderKL, photos: Photos, count: int, seed: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw crops and masks; return latents, latents of the masked crops, and latent masks.

    Latents are the posterior's mean, scaled; a latent's mask is that of its upper left pixel,
    as in the diffusers pipeline.
    """
    device = photos.pixels.device
    crops = draw_crops(photos, count, SIZE, torch.Generator(device).manual_seed(seed))
    masks = draw_masks(count, SIZE, torch.Generator().manual_seed(seed)).to(device)
    with autocast(device):
        encoded = vae.encode(torch.cat([crops, crops * (1 - masks)])).latent_dist.mean
    latents, conditions = (encoded.float() * vae.config.scaling_factor).chunk(2)
    return latents, conditions, F.interpolate(masks, size=latents.shape[2:])


def fill_pool(vae: AutoencoderKL, photos: Photos, seed: int, count: int = 512) -> LatentPool:
    """Return a pool with its first `count` entries, drawn by `seed`."""
    device, side = photos.pixels.device, SIZE // 4
    channels = vae.config.latent_channels
    latents, conditions, masks = (
        torch.zeros(POOL_SIZE, depth, side, side, device=device)
        for depth in (channels, channels, 1)
    )
    pool = LatentPool(latents, conditions, masks)
    for part in range(0, count, ENCODED_AT_ONCE):
        pool.add(*encode_crops(vae, photos, ENCODED_AT_ONCE, derive_seed("fill", seed, part)))
    return pool


def denoising_loss(
    unet: UNet2DConditionModel,
    vae: AutoencoderKL,
    embeddings: Tensor,
    photos: Photos,
    batch_size: int,
    seed: int,
) -> Callable[[int], Tensor]:
    """Return the loss of a step: the error of the predicted v, a share of it outside the hole.

    `embeddings` are those of `PROMPTS`, `(P, tokens, channels)`. Each training of a UNet has its
    own `seed`, or the second would see the first one's crops and noise again.
    """
    device = photos.pixels.device
    scheduler = DDPMScheduler.from_config(make_scheduler().config)
    pool: LatentPool | None = None

    def draw_loss(step: int) -> Tensor:
        nonlocal pool
        pool = pool or fill_pool(vae, photos, derive_seed("pool", seed, step))
        fresh = max(1, batch_size // USES)
        pool.add(*encode_crops(vae, photos, fresh, derive_seed("crops", seed, step)))
        generator = torch.Generator(device).manual_seed(derive_seed("noise", seed, step))
        latents, conditions, masks = pool.draw(batch_size, generator)
        noise = torch.randn(latents.shape, generator=generator, device=device)
        timesteps = draw_timesteps(batch_size, generator)
        noisy = scheduler.add_noise(latents, noise, timesteps)
        inputs = torch.cat([noisy, masks, conditions], 1)
        rows = torch.randint(len(embeddings), (batch_size,), generator=generator, device=device)
        with autocast(device):
            predicted = unet(inputs, timesteps, embeddings[rows], return_dict=False)[0]
        errors = (predicted.float() - scheduler.get_velocity(latents, noise, timesteps)).square()
        return ((KNOWN_WEIGHT + (1 - KNOWN_WEIGHT) * masks) * errors).mean()

    return draw_loss


def draw_timesteps(count: int, generator: torch.Generator) -> Tensor:
    """Draw timesteps, most of them late: what a hole is filled with is decided at high noise.

    One is drawn from each of `count` equal parts, for a steadier loss, and shifted as in
    Stable Diffusion 3 (arXiv 2403.03206, section 5.3.2).
    """
    parts = torch.arange(count, device=generator.device)
    shares = (parts + torch.rand(count, generator=generator, device=generator.device)) / count
    shifted = TIMESTEP_SHIFT * shares / (1 + (TIMESTEP_SHIFT - 1) * shares)
    return (1000 * shifted).long().clamp(max=999)


@torch.no_grad()
def embed_prompts(pipeline: StableDiffusionInpaintPipeline) -> Tensor:
    """Return the text embeddings of `PROMPTS`, `(P, tokens, channels)`."""
    device = pipeline.device
    return torch.cat([pipeline.encode_prompt(p, device, 1, False)[0] for p in PROMPTS])
