"""Rendering the references in the target's view, and comparing with what the target knows.

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

from realfill.geometry.colours import TOLERANCE, apply_tone, fit_tone, fuse, spread
from realfill.geometry.features import work_size
from realfill.geometry.plane_sweep import sweep
from realfill.geometry.relative import Shapes, align
from realfill.geometry.single import FACTOR, carry, depth_by_one
from realfill.geometry.views import Cameras
from realfill.geometry.votes import pixel_grid, sample
from realfill.images.blend import resize
from realfill.scene import Scene

BAND = 0.2
"""Width of the withheld band over the square root of the hole's area."""
CORRECTION = 0.15
"""Largest colour correction, of 1, that is carried from the known pixels into the hole."""
MARGIN = 0.4
"""What is looked at around the hole's box, over the box's own size."""


@dataclass(frozen=True)
class Stage:
    """The hole and its surroundings at some size, and the photos at the same size."""

    target: Tensor
    """`(3, H, W)` in [0, 1], the part around the hole."""
    hole: Tensor
    """bool `(H, W)`, as all that follow."""
    band: Tensor
    outside: Tensor
    """What is known, less the band."""
    points: Tensor
    """`(H, W, 2)`: where the pixels are in the whole target, in [0, 1]."""
    width: int
    """The band's width in pixels."""
    photos: dict[str, Tensor]
    """The references, `(3, h, w)` in [0, 1]."""
    shapes: Shapes | None = None

    @property
    def continued(self) -> Tensor:
        """Return what is outside the band continued smoothly into it and the hole."""
        return spread(self.target, self.outside[None].float())


def make_stage(
    target: Image.Image,
    mask: Image.Image,
    references: dict[str, Image.Image],
    device: torch.device,
    shrink: int = 1,
    shapes: Shapes | None = None,
) -> Stage:
    """Prepare the photos at the working size, or `shrink` times smaller."""

    def small(photo: Image.Image) -> Image.Image:
        width, height = work_size(photo.size)
        return resize(photo, (max(1, width // shrink), max(1, height // shrink)))

    shrunk = small(target)
    whole = to_tensor(shrunk, device)
    hole = to_tensor(mask.resize(shrunk.size, Image.Resampling.BOX), device)[0] > 0
    width = max(8 // shrink, round(BAND * hole.sum().item() ** 0.5))
    band = (distance_to(hole) <= width) & ~hole
    box = surroundings(hole)
    return Stage(
        whole[(slice(None), *box)],
        hole[box],
        band[box],
        ~(hole | band)[box],
        pixel_grid(hole.shape, device)[box],
        width,
        {name: to_tensor(small(photo), device) for name, photo in references.items()},
        shapes,
    )


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
    points = pixel_grid(depth.shape, depth.device) if points is None else points
    seen = [
        sample(photo, view.project(points, depth)[None])
        for photo, view in zip(photos, cameras.views.values(), strict=True)
    ]
    return torch.cat([image for image, _ in seen]), torch.cat([inside for _, inside in seen])


def render(photos: Tensor, inside: Tensor, cameras: Cameras) -> tuple[Tensor, Tensor]:
    """Fuse warped references in the target's colours; see `fuse` for what it returns."""
    distances = [float(np.linalg.norm(view.center)) for view in cameras.views.values()]
    return fuse(photos, inside, distances)


def find_depth(cameras: Cameras, stage: Stage) -> tuple[Tensor, Tensor]:
    """Return the inverse depth `(H, W)` and what its vote cost, nan for none; see `sweep`."""
    depth = torch.zeros_like(stage.target[0])
    if not cameras.have_parallax:
        return depth, torch.full_like(depth, torch.nan)
    voters = cameras.with_depth
    photos = [stage.photos[name] for name in voters]
    known = stage.outside[None].float()
    largest = cameras.largest_inverse_depth
    points = np.array(cameras.points).reshape(-1, 3)
    given = points if cameras.slanting else None
    depth, cost = sweep(
        stage.target, known, photos, list(voters.values()), largest, stage.points, given
    )
    if cameras.is_guess:
        view, shape = next(iter(voters.values())), aligned_shape(cameras, stage)
        if shape is None:
            guess = depth_by_one(stage.target, stage.outside, stage.points, photos[0], view, points)
        else:
            guess = carry(shape, view.reversed(), stage.points)
        depth = torch.where(stage.outside | guess.isnan(), depth, guess)
    return depth, cost


def aligned_shape(cameras: Cameras, stage: Stage) -> Tensor | None:
    """Return the inverse depth of the one reference by a depth model, as `carry` takes it.

    None without a depth model, if more references than one tell the depths, or if it does not fit
    the points; see `align`.
    """
    if stage.shapes is None or not cameras.is_guess:
        return None
    [(name, view)] = cameras.views.items()
    shape = align(stage.shapes(name), view, np.array(cameras.points).reshape(-1, 3))
    if shape is None:
        return None
    size = [max(1, side // FACTOR) for side in stage.photos[name].shape[1:]]
    return F.interpolate(shape[None, None], size, mode="area")[0, 0]


def fit_tones(warped: Tensor, inside: Tensor, stage: Stage) -> list[Tensor]:
    """Return the tone curve of each warped photo, from what is known outside the band."""
    return [
        fit_tone(image, stage.target, stage.outside & (there[0] > 0))
        for image, there in zip(warped, inside, strict=True)
    ]


def predict(cameras: Cameras, stage: Stage) -> tuple[Tensor, list[Tensor]]:
    """Find the depth, and render the surroundings of the hole; see `predict_at`."""
    return predict_at(find_depth(cameras, stage)[0], cameras, stage)


def predict_at(depth: Tensor, cameras: Cameras, stage: Stage) -> tuple[Tensor, list[Tensor]]:
    """Render the surroundings of the hole, band and hole from the references alone.

    `depth` is inverse, `(H, W)`. Returns the picture `(3, H, W)`, corrected from what is known
    outside the band, nan where nobody looks; and one such picture a reference.
    """
    photos = [stage.photos[name] for name in cameras.views]
    warped, inside = warp(photos, cameras, depth, stage.points)
    tones = fit_tones(warped, inside, stage)
    toned = torch.stack([apply_tone(*pair) for pair in zip(warped, tones, strict=True)])
    picture, _ = render(toned, inside, cameras)
    each = torch.where(inside > 0, toned, torch.nan)
    corrected = [correct(image, stage.target, stage.outside) for image in (picture, *each)]
    return corrected[0], corrected[1:]


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


def surroundings(hole: Tensor) -> tuple[slice, slice]:
    """Return the rows and columns of the hole's box and of `MARGIN` around it."""
    slices = []
    for axis in (1, 0):
        places = hole.any(axis).nonzero()
        first, last = int(places.min()), int(places.max()) + 1
        margin = round(MARGIN * (last - first)) + 8
        slices.append(slice(max(0, first - margin), min(hole.shape[1 - axis], last + margin)))
    return slices[0], slices[1]


def hole_of(scene: Scene, device: torch.device) -> Tensor:
    """Return where the hole is at the photo's own size, bool `(H, W)`."""
    return to_tensor(scene.mask, device)[0] > 0.5
