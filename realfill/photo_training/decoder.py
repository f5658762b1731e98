"""What a decoder that sees the known pixels is trained on, and its loss."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from diffusers import StableDiffusionInpaintPipeline
from torch import Tensor

from realfill.devices import autocast
from realfill.model.decoder import HarmonizingDecoder
from realfill.photo_training.colour_shifts import shift_colours
from realfill.photo_training.photos import Photos, draw_crops, draw_masks
from realfill.sampling.latents import sample_latents, scheduled
from realfill.seeds import derive_seed
from realfill.settings import SamplingSettings

RENEWED_EVERY = 16
"""Steps between renewals of the pool. Each brings two batches: one that the UNet sampled, and one
of photos that were encoded with shifted colours. So an example is used eight times on average."""
POOL_SIZE = 8
"""Renewals that are kept; each step's examples come from all of them."""
WEAKEST = 0.3
"""The least strength that latents are sampled with from the noised truth."""
REACH = 10
"""Pixels that the ring reaches into the hole; outside, the composite replaces all but a few."""
OUTSIDE = 3
RING_WEIGHT = 4.0
"""Of an error at the mask's edge, beside 1 deep in the hole."""
KNOWN_WEIGHT = 0.05
"""Of an error at a known pixel: the composite replaces them."""
GRADIENT_WEIGHT = 0.5
"""Of the error of each of the two gradients, beside that of the colours."""


@dataclass
class Examples:
    """N masked photos, and latents of a filling of each."""

    truth: Tensor
    """`(N, 3, H, W)` in [-1, 1]."""
    masks: Tensor
    """`(N, 1, H, W)` of 0 (known) and 1 (filled)."""
    latents: Tensor
    """`(N, C, H / f, W / f)`, as the autoencoder decodes them."""
    likeness: Tensor
    """`(N, 1, 1, 1)` of 0 to 1: how far the filling has the truth's content."""

    def __len__(self) -> int:
        """Return N."""
        return len(self.truth)

    def rows(self, chosen: Tensor) -> "Examples":
        """Return those of the numbers `chosen`."""
        return Examples(*(part[chosen] for part in self.parts()))

    def parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the tensors in their order."""
        return self.truth, self.masks, self.latents, self.likeness

    @staticmethod
    def together(several: "list[Examples]") -> "Examples":
        """Return all of them in one."""
        return Examples(*map(torch.cat, zip(*(each.parts() for each in several), strict=True)))


@dataclass
class Source:
    """Where examples come from: a base on the device of the photos."""

    pipeline: StableDiffusionInpaintPipeline
    photos: Photos
    size: int
    """Side of the crops in pixels."""
    batch_size: int
    pool: list[Examples] = field(default_factory=list)
    """Sampled examples, the newest last."""

    def draw(self, step: int) -> Examples:
        """Return the batch of a training step."""
        if step % RENEWED_EVERY == 0 or not self.pool:
            seed = derive_seed("renewal", step)
            kinds = (self.sampled, self.shifted)
            fresh = [draw(self.batch_size, seed + i) for i, draw in enumerate(kinds)]
            self.pool = [*self.pool, Examples.together(fresh)][-POOL_SIZE:]
        generator = torch.Generator().manual_seed(derive_seed("chosen", step))
        parts = torch.randint(len(self.pool), (self.batch_size,), generator=generator)
        rows = torch.randint(len(self.pool[0]), (self.batch_size,), generator=generator)
        device = self.photos.pixels.device
        return Examples.together(
            [
                examples.rows(rows[parts == number].to(device))
                for number, examples in enumerate(self.pool)
            ]
        )

    def crops(self, count: int, seed: int) -> tuple[Tensor, Tensor, torch.Generator]:
        """Draw crops and masks, and return the generator of their device too."""
        device = self.photos.pixels.device
        generator = torch.Generator(device).manual_seed(seed)
        crops = draw_crops(self.photos, count, self.size, generator)
        masks = draw_masks(count, self.size, torch.Generator().manual_seed(seed))
        return crops, masks.to(device), generator

    @torch.no_grad()
    def shifted(self, count: int, seed: int) -> Examples:
        """Draw photos that are encoded with other colours in the hole."""
        truth, masks, generator = self.crops(count, seed)
        changed = torch.lerp(truth, shift_colours(truth, generator), masks)
        vae = self.pipeline.vae
        latents = vae.encode(changed.to(vae.dtype)).latent_dist.mean.float()
        return Examples(truth, masks, latents, torch.ones_like(latents[:, :1, :1, :1]))

    @torch.no_grad()
    def sampled(self, count: int, seed: int) -> Examples:
        """Draw photos whose holes the UNet fills, from the truth under more or less noise."""
        truth, masks, noise = self.crops(count, seed)
        host = torch.Generator().manual_seed(seed)
        strength = WEAKEST + (1 - WEAKEST) * torch.rand((), generator=host).item()
        settings = SamplingSettings(self.size, strength=strength)
        with scheduled(self.pipeline, settings.scheduler):
            latents = sample_latents(self.pipeline, (truth + 1) / 2, masks, settings, noise).float()
        likeness = torch.full_like(latents[:, :1, :1, :1], 1 - strength)
        return Examples(truth, masks, latents, likeness)


def decoding_loss(decoder: HarmonizingDecoder, source: Source) -> Callable[[int], Tensor]:
    """Return the loss of a step: how far what is decoded is from the true photo."""
    device = source.photos.pixels.device

    def draw_loss(step: int) -> Tensor:
        examples = source.draw(step)
        with autocast(device):
            decoded = decoder(examples.latents, examples.truth, examples.masks)
        weights = pixel_weights(examples.masks, examples.likeness)
        return weighted_error(decoded.float() - examples.truth, weights)

    return draw_loss


def weighted_error(difference: Tensor, weights: Tensor) -> Tensor:
    """Return the mean of the absolute errors in colour and in both gradients, as weighted.

    `difference` is `(N, 3, H, W)`, `weights` `(N, 1, H, W)`.
    """
    loss = (weights * difference.abs()).mean()
    for axis in (-1, -2):
        steps = difference.diff(dim=axis).abs()
        loss = loss + GRADIENT_WEIGHT * (weights.narrow(axis, 1, steps.shape[axis]) * steps).mean()
    return loss


def pixel_weights(masks: Tensor, likeness: Tensor) -> Tensor:
    """Return `(N, 1, H, W)` weights: most at the mask's edge, and in the hole by `likeness`.

    What is sampled from much noise has another content than the truth, which the decoder must not
    be taught to blur; at the edge it must join the truth all the same.
    """
    near = F.avg_pool2d(masks, 2 * REACH + 1, 1, REACH, count_include_pad=False)
    filled = F.max_pool2d(masks, 2 * OUTSIDE + 1, 1, OUTSIDE)
    ring = 4 * near * (1 - near) * filled
    return KNOWN_WEIGHT + likeness * masks + RING_WEIGHT * ring
