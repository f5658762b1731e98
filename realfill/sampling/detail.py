"""Keeping what was sampled, where a decoder that sees the known pixels would smooth it away.

Such a decoder is trained to come near the truth, and what is nearest to all that the truth may be
is smooth. It decides at the hole's edge; deeper in, it gives the colours, and the autoencoder's own
decoder gives the detail.
"""

import math

import cv2
import torch
from torch import Tensor
from torch.nn import functional as F

DECIDES = 1.0
"""How deep in the hole it decides alone, in latents, which the sampler cannot divide."""
FADES = 1.0
"""Over how many latents more it ceases to."""
SPREAD = 1.0
"""Deviation of the Gaussian, in latents, that tells colours from detail."""


def keep_detail(plain: Tensor, seen: Tensor, mask: Tensor, factor: int) -> Tensor:
    """Return pictures with the edge and the colours of `seen` and the detail of `plain`.

    Both are `(N, 3, H, W)`; `mask` is `(1, 1, H, W)` of 0 (known) and 1 (filled); a latent is
    `factor` pixels wide.
    """
    change = (seen - plain) * mask
    share = smooth(mask, SPREAD * factor).clamp_min(1e-3)
    colours = smooth(change, SPREAD * factor) / share
    hole = (mask[0, 0] > 0.5).byte().cpu().numpy()
    depth = torch.from_numpy(cv2.distanceTransform(hole, cv2.DIST_L2, 5)).to(plain)
    deep = ((depth / factor - DECIDES) / FADES).clamp(0, 1)
    return torch.where(mask > 0.5, plain + torch.lerp(change, colours, deep), seen)


def smooth(values: Tensor, deviation: float) -> Tensor:
    """Return `(N, C, H, W)` under a Gaussian window; beyond the border there is nothing."""
    reach = math.ceil(3 * deviation)
    steps = torch.arange(-reach, reach + 1, device=values.device, dtype=torch.float32)
    window = torch.exp(-0.5 * (steps / deviation) ** 2)
    window = (window / window.sum()).to(values.dtype)
    flat = values.flatten(0, 1)[:, None]
    flat = F.conv2d(flat, window[None, None, None], padding=(0, reach))
    flat = F.conv2d(flat, window[None, None, :, None], padding=(reach, 0))
    return flat[:, 0].unflatten(0, values.shape[:2])
