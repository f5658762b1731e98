"""Encoded draws: training samples as latents, each used in several steps.

Two encodes a sample are more than half of the arithmetic of a training step with Stable
Diffusion 2. So draws of crops and masks are encoded a batch at a time into a pool, and the steps
choose theirs from it; noise, timestep, prompt and the autoencoder's own noise are new at every use.
"""

from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor

from realfill.placement import brought_to
from realfill.seeds import derive_seed
from realfill.training.crops import Batch

POOL_BATCHES = 16
"""Batches in the pool, once it is full."""


class EncodedDraws(NamedTuple):
    """N draws as C latent channels of the size h × w."""

    means: Tensor
    """`(N, 2, C, h, w)`: the autoencoder's means of the photo and of the masked photo."""
    deviations: Tensor
    """`(N, 2, C, h, w)`: its standard deviations."""
    masks: Tensor
    """`(N, 1, h, w)` of 0 (known) and 1 (to fill)."""
    known: Tensor
    """`(N, 1, h, w)`: 1 where all pixels of the photo itself are known."""
    poses: Tensor
    """`(N, 4)`, or `(N, 0)` for samples that have one prompt in common."""


class Drawn(Protocol):
    """What samples are drawn from."""

    def draw(self, count: int, size: int, generator: torch.Generator) -> Batch:
        """Draw `count` samples of the height `size`."""
        ...


@dataclass
class DrawPool:
    """The pool of one process: batch number to its draws. `moment` counts batches used."""

    photos: Drawn
    vae: AutoencoderKL
    batch_size: int
    resolution: int
    reuse: int
    """Steps between renewals: how often a draw is used, on average. 1: all draws are new."""
    seed: tuple[int, int]
    """Seed of the run, number of the process."""
    batches: dict[int, EncodedDraws] = field(default_factory=dict)

    def choose(self, moment: int, generator: torch.Generator) -> EncodedDraws:
        """Return the batch for `moment`, chosen from the pool with `generator`.

        The pool's content follows from `moment` alone, so that a resumed run has the same.
        """
        wanted = batches_at(moment, self.reuse)
        for number in set(self.batches) - set(wanted):
            del self.batches[number]
        for number in wanted:
            if number not in self.batches:
                self.batches[number] = self.encode(number)
        chosen = torch.randperm(len(wanted) * self.batch_size, generator=generator)
        places = [divmod(i, self.batch_size) for i in chosen[: self.batch_size].tolist()]
        draws = [[part[row] for part in self.batches[wanted[k]]] for k, row in places]
        return EncodedDraws(*map(torch.stack, zip(*draws, strict=True)))

    def encode(self, number: int) -> EncodedDraws:
        """Draw and encode batch `number`."""
        generator = torch.Generator().manual_seed(derive_seed("draws", *self.seed, number))
        batch = self.photos.draw(self.batch_size, self.resolution, generator)
        with brought_to(batch.images.device, self.vae):
            return encode(self.vae, batch)


def batches_at(moment: int, reuse: int) -> range:
    """Return the numbers of the batches that are in the pool at `moment`.

    The first fill the pool, one a moment; then every `reuse` moments the oldest makes room.
    """
    size = 1 if reuse == 1 else POOL_BATCHES
    newest = min(moment, size - 1) + max(0, moment - size + 1) // reuse
    return range(max(0, newest - size + 1), newest + 1)


@torch.no_grad()
def encode(vae: AutoencoderKL, batch: Batch) -> EncodedDraws:
    """Encode the photos of `batch` and the same with the pixels to fill made grey.

    If the batch says what they are to become, then that in place of the grey ones.
    """
    seconds = batch.images * (1 - batch.masks) if batch.goals is None else batch.goals
    pairs = torch.stack([batch.images, seconds], dim=1)
    posterior = vae.encode(pairs.flatten(0, 1).to(vae.dtype)).latent_dist
    size = posterior.mean.shape[2:]
    return EncodedDraws(
        posterior.mean.unflatten(0, (-1, 2)),
        posterior.std.unflatten(0, (-1, 2)),
        F.interpolate(batch.masks, size=size),
        # A latent is known where all of its pixels are.
        1 - F.adaptive_max_pool2d(batch.unknown, size),
        batch.images.new_zeros(len(batch.images), 0) if batch.poses is None else batch.poses,
    )
