"""Filling the hole with what the references prove of it, and saying how far to trust that.

The band of known pixels around the hole is withheld from everything but the last touch: it is
predicted like the hole, and compared. That gives, for this scene, the error to expect.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from realfill.geometry.cameras import Cameras, find_cameras, work_image
from realfill.geometry.colours import fuse, match_tone, spread
from realfill.geometry.sweep import pixel_grid, sample, sweep
from realfill.scene import Scene

BAND = 0.2
"""Width of the withheld band over the square root of the hole's area."""
CONFIDENT = 0.4
"""Confidence from which a pixel counts as known: its error is 60% of interpolation's or less."""
CORRECTION = 0.15
"""Largest colour correction, of 1, that is carried from the known pixels into the hole."""


@dataclass(frozen=True)
class Prefill:
    """What the references say of the target.

    `image` has the target's size and equals it outside the hole; what nobody shows is continued
    smoothly. `confidence` (L) is 0 outside the hole and where no reference looks, at least 1 where
    one does, 255 where no error is expected. `message` is for a person.
    """

    image: Image.Image
    confidence: Image.Image
    cameras: Cameras
    message: str


@dataclass(frozen=True)
class Rendering:
    """The references as seen from the target, in its colours.

    `picture` is `(3, H, W)`, nan where nobody looks; `disagreement` is how far the references are
    apart there, `(H, W)`, nan where one looks alone.
    """

    picture: Tensor
    disagreement: Tensor


def make_prefill(scene: Scene, device: torch.device) -> Prefill:
    """Find the cameras, sweep the depth, render the references and calibrate the confidence."""
    cameras = find_cameras(scene.target, scene.mask, scene.references)
    if not cameras.views:
        return nothing(scene, cameras, "no reference could be tied to the photo")
    small, mask = work_image(scene.target), scene.mask
    mask = mask.resize(small.size, Image.Resampling.BOX).point(lambda value: 255 if value else 0)
    target, hole = to_tensor(small, device), to_tensor(mask, device)[0] > 0
    width = max(8, round(BAND * hole.sum().item() ** 0.5))
    band = dilate(hole, width) & ~hole
    outside = ~(hole | band)
    photos = [to_tensor(work_image(scene.references[name]), device) for name in cameras.views]
    depth, cost = torch.zeros_like(target[0]), torch.full_like(target[0], torch.nan)
    if any(view.has_parallax for view in cameras.views.values()):
        views = list(cameras.views.values())
        known = outside[None].float()
        depth, cost = sweep(target, known, photos, views, cameras.largest_inverse_depth)
    rendering = render(target, outside, photos, cameras, depth)
    guess = correct(rendering.picture, target, outside)
    smooth = spread(target, outside[None].float())
    seen = ~rendering.picture[0].isnan()
    if not (band & seen).any():
        return nothing(scene, cameras, "no reference shows the surroundings of the hole")
    error, rival = (window_error(image, target, band & seen) for image in (guess, smooth))
    doubt = doubts(rendering.disagreement, cost)
    mean_error, mean_rival = error[band & seen].mean(), rival[band & seen].mean()
    figures = f"error around the hole {mean_error:.3f}, by interpolation {mean_rival:.3f}"
    if mean_error >= mean_rival:
        return nothing(scene, cameras, f"the references predict too little ({figures})")
    expected = calibrate(doubt, error, band & seen)
    confidence = (1 - expected / mean_rival).clamp(0, 1) * seen
    if any(view.has_parallax for view in cameras.views.values()):
        # A depth that one reference alone cannot vote for is a guess from the hole's edge.
        alone = rendering.disagreement.isnan()
        confidence = torch.where(alone, confidence * near(hole, width), confidence)
    confidence = torch.where(hole, confidence, 0)
    return finish(scene, cameras, depth, confidence, figures, device)


def nothing(scene: Scene, cameras: Cameras, reason: str) -> Prefill:
    """Return a prefill that fills nothing."""
    return Prefill(scene.target, Image.new("L", scene.target.size), cameras, f"off: {reason}")


def to_tensor(image: Image.Image, device: torch.device) -> Tensor:
    """Return an image as `(C, H, W)` in [0, 1]."""
    pixels = torch.from_numpy(np.array(image)).to(device).float() / 255
    return pixels.permute(2, 0, 1) if pixels.ndim == 3 else pixels[None]


def to_image(pixels: Tensor) -> Image.Image:
    """Return `(3, H, W)` or `(H, W)` in [0, 1] as an image; nan is black."""
    pixels = (pixels.nan_to_num(0).clamp(0, 1) * 255).round().byte().cpu()
    return Image.fromarray((pixels.permute(1, 2, 0) if pixels.ndim == 3 else pixels).numpy())


def dilate(region: Tensor, radius: int) -> Tensor:
    """Grow a bool `(H, W)` region by a square of the given radius in pixels."""
    grown = F.max_pool2d(region[None, None].float(), (2 * radius + 1, 1), 1, (radius, 0))
    return F.max_pool2d(grown, (1, 2 * radius + 1), 1, (0, radius))[0, 0] > 0


def render(
    target: Tensor, known: Tensor, photos: list[Tensor], cameras: Cameras, depth: Tensor
) -> Rendering:
    """Bring the references to the target's view and colours, and fuse them."""
    points = pixel_grid(*depth.shape, depth.device)
    warped, inside = [], []
    for photo, view in zip(photos, cameras.views.values(), strict=True):
        image, there = sample(photo, view.project(points, depth)[None])
        warped.append(match_tone(image[0], target, known & (there[0, 0] > 0)))
        inside.append(there[0])
    distances = [float(np.linalg.norm(view.translation)) for view in cameras.views.values()]
    return Rendering(*fuse(torch.stack(warped), torch.stack(inside), distances))


def correct(picture: Tensor, target: Tensor, known: Tensor) -> Tensor:
    """Carry the colour error of the `known` pixels smoothly into the rest: a membrane.

    Pixels that the picture gets wrong, as a passer-by, count little.
    """
    error = (target - picture).nan_to_num(0)
    weights = 1 / (1 + (error / 0.05).square().sum(0, keepdim=True))
    weights = weights * (known & ~picture[0].isnan())
    return picture + spread(error.clamp(-CORRECTION, CORRECTION), weights)


def window_error(image: Tensor, target: Tensor, region: Tensor, side: int = 9) -> Tensor:
    """Return the mean absolute colour error in a window, over the pixels of `region`, `(H, W)`."""
    errors = torch.where(region, (image - target).abs().mean(0), 0)
    both = torch.stack([errors, region.float()])[:, None]
    sums = F.avg_pool2d(both, side, 1, side // 2)
    return (sums[0] / sums[1].clamp_min(1e-6))[0]


def doubts(disagreement: Tensor, cost: Tensor) -> Tensor:
    """Return a number that grows with the error to expect, `(H, W)`.

    The references' disagreement in colour, and what the depth's vote cost; where one reference
    looks alone, or nobody voted, a middling figure stands for either.
    """
    return disagreement.nan_to_num(0.05) + 0.1 * cost.nan_to_num(0.25)


def calibrate(doubt: Tensor, error: Tensor, region: Tensor) -> Tensor:
    """Return the error to expect at each pixel's doubt, `(H, W)`.

    A line that rises with the doubt, by least squares over `region`, where the error is known.
    """
    doubts, errors = doubt[region], error[region]
    spread_out = doubts - doubts.mean()
    slope = (spread_out * errors).sum() / spread_out.square().sum().clamp_min(1e-6)
    return (errors.mean() + slope.clamp_min(0) * (doubt - doubts.mean())).clamp_min(0)


def near(hole: Tensor, width: int) -> Tensor:
    """Return 1 at the hole's edge falling to 0 at `width` pixels inside, `(H, W)`."""
    rings = torch.zeros_like(hole, dtype=torch.float32)
    for step in range(width):
        rings += dilate(~hole, step)
    return rings / width


def finish(
    scene: Scene,
    cameras: Cameras,
    depth: Tensor,
    confidence: Tensor,
    figures: str,
    device: torch.device,
) -> Prefill:
    """Render at the photo's own size and take in the withheld band."""
    target, hole = to_tensor(scene.target, device), to_tensor(scene.mask, device)[0] > 0.5
    depth, confidence = (
        F.interpolate(part[None, None], size=target.shape[1:], mode=mode)[0, 0]
        for part, mode in ((depth, "nearest-exact"), (confidence, "bilinear"))
    )
    photos = [to_tensor(scene.references[name], device) for name in cameras.views]
    rendering = render(target, ~hole, photos, cameras, depth)
    picture = correct(rendering.picture, target, ~hole)
    unseen = hole & picture[0].isnan()
    image = torch.where(hole & ~unseen, picture, target)
    image = torch.where(unseen, spread(image, (~unseen)[None].float()), image)
    confidence = torch.where(hole & ~unseen, confidence.clamp_min(1 / 255), 0)
    share = (confidence[hole] >= CONFIDENT).float().mean().item()
    message = f"{cameras.method}, {len(cameras.views)} of {len(scene.references)} references, "
    message += f"{share:.0%} of the hole is known ({figures})"
    return Prefill(to_image(image), to_image(confidence), cameras, message)
