"""Drawing training samples from a scene (RealFill, section 3.2): photo, crop, mask."""

import math
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from realfill.images.blend import resize
from realfill.scene import Scene
from realfill.training.hints import Hints
from realfill.training.masks import random_masks

LARGEST_RESIZE = 1.125
"""A photo's short side is resized to between one and this many crop sides, then cropped."""
AIMED = 0.5
"""Share of a reference's masks that hide what it shows of the target's hole, if that is known."""


@dataclass(frozen=True)
class TrainingPhotos:
    """The photos of a scene on the device: uint8 `(3, H, W)`, the target last; its mask."""

    photos: list[Tensor]
    hole: Tensor
    """bool `(1, H, W)`: True where the target is to be filled."""
    confidence: Tensor | None = None
    """`(1, H, W)` in [0, 1]: how far the target's pixels in the hole are believed; None: not."""
    regions: dict[int, Tensor] = field(default_factory=dict)
    """By number of the photo, where it shows what the hole hides: bool `(1, H, W)`."""

    def draw(self, count: int, size: int, generator: torch.Generator) -> "Batch":
        """Draw `count` samples of the side `size`; see `draw_batch`."""
        return draw_batch(self, count, size, generator)


@dataclass(frozen=True)
class Batch:
    """N training samples at the crop's size S; a canvas is twice as wide as high."""

    images: Tensor
    """`(N, 3, S, S)` in [-1, 1]."""
    masks: Tensor
    """`(N, 1, S, S)` of 0 (known) and 1 (to fill)."""
    unknown: Tensor
    """`(N, 1, S, S)` in [0, 1]: 1 where the photo itself is not known, as in the target's hole."""
    goals: Tensor | None = None
    """`(N, 3, S, S)` in [-1, 1]: what the images are to become, if they are not the truth."""
    poses: Tensor | None = None
    """`(N, 4)`: what each sample's own prompt tells, see `realfill.canvas.poses`."""


def upload_photos(
    scene: Scene, resolution: int, device: torch.device, hints: Hints | None = None
) -> TrainingPhotos:
    """Shrink the scene's photos to the largest size that a crop is drawn from and upload them.

    With `hints`, the target's hole holds what geometry found there.
    """

    def shrink(image: Image.Image) -> Tensor:
        scale = math.ceil(resolution * LARGEST_RESIZE) / min(image.size)
        image = resize(image, (round(image.width * scale), round(image.height * scale)))
        pixels = np.array(image).reshape(image.height, image.width, -1)
        return torch.from_numpy(pixels).permute(2, 0, 1).contiguous().to(device)

    references = [shrink(photo) for photo in scene.references.values()]
    hole = shrink(scene.mask) > 0
    if hints is None:
        return TrainingPhotos([*references, shrink(scene.target)], hole)
    names = list(scene.references)
    regions = {names.index(name): shrink(seen) > 127 for name, seen in hints.regions.items()}
    confidence = shrink(hints.confidence).float() / 255
    return TrainingPhotos([*references, shrink(hints.image)], hole, confidence, regions)


def draw_batch(scene: TrainingPhotos, count: int, size: int, generator: torch.Generator) -> Batch:
    """Draw `count` samples with replacement: photo, resize, crop and mask of each."""
    device = scene.hole.device
    chosen = torch.randint(len(scene.photos), (count,), generator=generator).tolist()
    numbers = torch.rand(count, 3, generator=generator).tolist()
    masks = random_masks(count, size, generator).to(device)
    aimed = torch.rand(count, generator=generator) < AIMED if scene.regions else torch.zeros(count)
    images, unknown = [], torch.zeros_like(masks)
    for i, (index, (scale, down, right)) in enumerate(zip(chosen, numbers, strict=True)):
        photo = scene.photos[index]
        # Resizing the short side to s and cropping S is cropping short * S / s and resizing to S.
        side = round(min(photo.shape[1:]) / (1 + (LARGEST_RESIZE - 1) * scale))
        top = int(down * (photo.shape[1] - side + 1))
        left = int(right * (photo.shape[2] - side + 1))
        window = (..., slice(top, top + side), slice(left, left + side))
        images.append(resize_crop(photo[window].float(), size))
        if index == len(scene.photos) - 1:
            hole = resize_crop(scene.hole[window].float(), size)
            masks[i], unknown[i] = (hole > 0.5).float(), (hole > 0).float()
            if scene.confidence is not None:
                unknown[i] *= 1 - resize_crop(scene.confidence[window], size)
        elif aimed[i] and index in scene.regions:
            region = resize_crop(scene.regions[index][window].float(), size) > 0.5
            masks[i] = region.float() if region.any() else masks[i]
    return Batch(torch.stack(images) / 127.5 - 1, masks, unknown)


def resize_crop(crop: Tensor, size: int) -> Tensor:
    """Resize `(C, H, W)` to `(C, size, size)`."""
    resized = F.interpolate(crop[None], size=(size, size), mode="bilinear", antialias=True)
    return resized[0]
