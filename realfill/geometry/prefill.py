"""Filling the hole with what the references prove of it, and saying how far to trust that.

The band of known pixels around the hole is withheld from everything but the last touch: it is
predicted like the hole, and compared. That gives, for this scene, the error to expect.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from realfill.geometry.cameras import Cameras, work_image
from realfill.geometry.colours import TOLERANCE, apply_tone, fit_tone, fuse, spread
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
    message: str


def make_prefill(scene: Scene, cameras: Cameras, device: torch.device) -> Prefill:
    """Sweep the depth, render the references and calibrate the confidence."""
    if not cameras.views:
        return empty_prefill(scene, "off: no reference could be tied to the photo")
    target, hole = work_tensors(scene, device)
    width = max(8, round(BAND * hole.sum().item() ** 0.5))
    band = (distance_to(hole) <= width) & ~hole
    outside = ~(hole | band)
    photos = [to_tensor(work_image(scene.references[name]), device) for name in cameras.views]
    depth, cost = torch.zeros_like(target[0]), torch.full_like(target[0], torch.nan)
    if cameras.have_parallax:
        views = list(cameras.views.values())
        known = outside[None].float()
        depth, cost = sweep(target, known, photos, views, cameras.largest_inverse_depth)
    warped, inside = warp(photos, cameras, depth)
    tones = [
        fit_tone(image, target, outside & (there[0] > 0))
        for image, there in zip(warped, inside, strict=True)
    ]
    picture, disagreement = render(warped, inside, tones, cameras)
    seen = ~picture[0].isnan()
    tested = band & seen
    if not tested.any():
        return empty_prefill(scene, "off: no reference shows the surroundings of the hole")
    error = window_error(correct(picture, target, outside), target, tested)
    rival = window_error(spread(target, outside[None].float()), target, tested)[tested].mean()
    figures = f"error around the hole {error[tested].mean():.3f}, by interpolation {rival:.3f}"
    if error[tested].mean() >= rival:
        return empty_prefill(scene, f"off: the references predict too little ({figures})")
    expected = calibrate(doubts(disagreement, cost), error, tested)
    confidence = (1 - expected / rival).clamp(0, 1)
    if cameras.have_parallax:
        # A depth that one reference alone cannot vote for is a guess from the hole's edge.
        near = (1 - distance_to(~hole) / width).clamp_min(0)
        confidence = torch.where(disagreement.isnan(), confidence * near, confidence)
    confidence = torch.where(hole & seen, confidence.clamp_min(1 / 255), 0)
    image, confidence = finish(scene, cameras, tones, depth, confidence)
    share = (confidence[hole_of(scene, device)] >= CONFIDENT).float().mean().item()
    used = f"{cameras.method}, {len(cameras.views)} of {len(scene.references)} references"
    message = f"{used}, {share:.0%} of the hole is known ({figures})"
    return Prefill(to_image(image), to_image(confidence), message)


def empty_prefill(scene: Scene, message: str) -> Prefill:
    """Return a prefill that fills nothing."""
    return Prefill(scene.target, Image.new("L", scene.target.size), message)


def to_tensor(image: Image.Image, device: torch.device) -> Tensor:
    """Return an image as `(C, H, W)` in [0, 1]."""
    pixels = torch.from_numpy(np.array(image)).to(device).float() / 255
    return pixels.permute(2, 0, 1) if pixels.ndim == 3 else pixels[None]


def to_image(pixels: Tensor) -> Image.Image:
    """Return `(3, H, W)` or `(H, W)` in [0, 1] as an image; nan is black."""
    pixels = (pixels.nan_to_num(0).clamp(0, 1) * 255).round().byte().cpu()
    return Image.fromarray((pixels.permute(1, 2, 0) if pixels.ndim == 3 else pixels).numpy())


def distance_to(region: Tensor) -> Tensor:
    """Return each pixel's distance in pixels to the bool `(H, W)` region."""
    elsewhere = (~region).byte().cpu().numpy()
    return torch.from_numpy(cv2.distanceTransform(elsewhere, cv2.DIST_L2, 5)).to(region.device)


def warp(
    photos: list[Tensor], cameras: Cameras, depth: Tensor, points: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Bring references to the target's view at `depth` `(H, W)`, at `points` or all pixels.

    Returns `(N, 3, H, W)`, and `(N, 1, H, W)` one where the reference looks.
    """
    points = pixel_grid(*depth.shape, depth.device) if points is None else points
    seen = [
        sample(photo, view.project(points, depth)[None])
        for photo, view in zip(photos, cameras.views.values(), strict=True)
    ]
    return torch.cat([image for image, _ in seen]), torch.cat([inside for _, inside in seen])


def render(
    warped: Tensor, inside: Tensor, tones: list[Tensor], cameras: Cameras
) -> tuple[Tensor, Tensor]:
    """Fuse warped references in the target's colours; see `fuse` for what it returns."""
    toned = [apply_tone(image, tone) for image, tone in zip(warped, tones, strict=True)]
    distances = [float(np.linalg.norm(view.center)) for view in cameras.views.values()]
    return fuse(torch.stack(toned), inside, distances)


def correct(picture: Tensor, target: Tensor, known: Tensor) -> Tensor:
    """Carry the colour error of the `known` pixels smoothly into the rest: a membrane.

    Pixels that the picture gets wrong, as a passer-by, count little.
    """
    error = (target - picture).nan_to_num(0)
    weights = 1 / (1 + (error / TOLERANCE).square().sum(0, keepdim=True))
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


def finish(
    scene: Scene, cameras: Cameras, tones: list[Tensor], depth: Tensor, confidence: Tensor
) -> tuple[Tensor, Tensor]:
    """Render around the hole at the photo's own size, the withheld band taken in as known.

    Returns the picture `(3, H, W)`, the target outside the hole and smooth where nobody looks,
    and the confidence `(H, W)`.
    """
    target, hole = to_tensor(scene.target, depth.device), hole_of(scene, depth.device)
    depth, confidence = (
        F.interpolate(part[None, None], size=hole.shape, mode=mode)[0, 0]
        for part, mode in ((depth, "nearest-exact"), (confidence, "bilinear"))
    )
    box = surroundings(hole)
    points = pixel_grid(*hole.shape, depth.device)[box]
    photos = [to_tensor(scene.references[name], depth.device) for name in cameras.views]
    picture, _ = render(*warp(photos, cameras, depth[box], points), tones, cameras)
    around, inner = target[(slice(None), *box)], hole[box]
    picture = correct(picture, around, ~inner)
    seen = inner & ~picture[0].isnan()
    filled = torch.where(seen, picture, around)
    continued = spread(filled, (seen | ~inner)[None].float())
    target[(slice(None), *box)] = torch.where(inner & ~seen, continued, filled)
    confidence[box] *= seen
    return target, torch.where(hole, confidence, 0)


def surroundings(hole: Tensor) -> tuple[slice, slice]:
    """Return the rows and columns of the hole's box, half as large again on each side."""
    slices = []
    for axis in (1, 0):
        places = hole.any(axis).nonzero()
        first, last = int(places.min()), int(places.max()) + 1
        margin = (last - first) // 2 + 1
        slices.append(slice(max(0, first - margin), last + margin))
    return slices[0], slices[1]


def work_tensors(scene: Scene, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the target `(3, H, W)` at the working size, and where its hole reaches, `(H, W)`."""
    small = work_image(scene.target)
    mask = scene.mask.resize(small.size, Image.Resampling.BOX)
    return to_tensor(small, device), to_tensor(mask, device)[0] > 0


def hole_of(scene: Scene, device: torch.device) -> Tensor:
    """Return where the hole is at the photo's own size, bool `(H, W)`."""
    return to_tensor(scene.mask, device)[0] > 0.5
