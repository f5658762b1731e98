"""Photos on the device, and crops and masks drawn from them in batches."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from realfill.errors import UserError
from realfill.training.masks import random_masks

LARGEST_CROP = 1.25
"""A crop spans between its own side and this many times as much of the photo in memory."""
LARGEST_ASPECT = 1.5
STROKE_POINTS = 48


@dataclass(frozen=True)
class Photos:
    """N photos on the device, each in the upper left corner of a square canvas of side C."""

    pixels: Tensor
    """uint8 `(N, 3, C, C)`."""
    heights: Tensor
    """int64 `(N,)`."""
    widths: Tensor
    """int64 `(N,)`."""


def list_photos(folder: Path, held_out_count: int) -> tuple[list[Path], list[Path]]:
    """Return the paths of the photos to train on, and of the last `bsds-*`, which are held out.

    Raises `UserError` if there is none to train on, or none to hold out though some are wanted.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give a folder of photos as --photos")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".jpg", ".png"))
    candidates = [path for path in paths if path.name.startswith("bsds-")]
    held_out = candidates[-held_out_count:] if held_out_count else []
    training = [path for path in paths if path not in set(held_out)]
    if not training or (held_out_count and not held_out):
        raise UserError(
            f"{folder}: {len(training)} photos to train on and {len(held_out)} bsds-* photos to "
            "hold out; both are needed, as .jpg or .png"
        )
    return training, held_out


def read_photo(path: Path, short_side: int) -> Image.Image:
    """Read a photo as RGB with a short side of so many pixels, cut to at most 3:2."""
    with Image.open(path) as opened:
        photo = opened.convert("RGB")
    scale = short_side / min(photo.size)
    photo = photo.resize([round(side * scale) for side in photo.size], Image.Resampling.LANCZOS)
    longest = round(short_side * LARGEST_ASPECT)
    width, height = (min(side, longest) for side in photo.size)
    left, top = (photo.width - width) // 2, (photo.height - height) // 2
    return photo.crop((left, top, left + width, top + height))


def upload_photos(paths: list[Path], crop: int, device: torch.device) -> Photos:
    """Read all photos at the size for crops of the side `crop` and put them on the device."""
    short_side = round(crop * LARGEST_CROP)
    side = round(short_side * LARGEST_ASPECT)
    canvas = torch.zeros(len(paths), 3, side, side, dtype=torch.uint8)
    sizes = []
    for row, path in zip(canvas, tqdm(paths, desc="photos"), strict=True):
        photo = torch.from_numpy(np.array(read_photo(path, short_side))).permute(2, 0, 1)
        row[:, : photo.shape[1], : photo.shape[2]] = photo
        sizes.append(photo.shape[1:])
    heights, widths = torch.tensor(sizes, device=device).unbind(1)
    return Photos(canvas.to(device), heights, widths)


def draw_crops(photos: Photos, count: int, size: int, generator: torch.Generator) -> Tensor:
    """Draw random crops `(count, 3, size, size)` in [-1, 1], half of them mirrored.

    A crop spans between `size` and `size * LARGEST_CROP` pixels of the stored photo.
    `generator` is of the photos' device.
    """
    device = photos.pixels.device
    chosen = torch.randint(len(photos.pixels), (count,), generator=generator, device=device)
    scale, down, right, mirror = torch.rand(4, count, generator=generator, device=device)
    side = size * (1 + (LARGEST_CROP - 1) * scale)
    top = down * (photos.heights[chosen] - side)
    left = right * (photos.widths[chosen] - side)
    # The crop's pixel centres in the canvas's coordinates, which grid_sample has in [-1, 1].
    steps = (torch.arange(size, device=device) + 0.5) / size
    canvas = photos.pixels.shape[-1]
    rows = (top[:, None] + side[:, None] * steps) / canvas * 2 - 1
    flipped = torch.where(mirror[:, None] < 0.5, steps, 1 - steps)
    columns = (left[:, None] + side[:, None] * flipped) / canvas * 2 - 1
    grid = torch.stack(
        [columns[:, None, :].expand(-1, size, -1), rows[:, :, None].expand(-1, -1, size)], -1
    )
    crops = F.grid_sample(
        photos.pixels[chosen].float(), grid, "bilinear", "border", align_corners=False
    )
    return crops / 127.5 - 1


def draw_masks(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Draw masks like the job's: a box, a half-plane, a stroke, rectangles; or everything.

    Returns a float tensor `(count, 1, size, size)` of 0 (known) and 1 (to fill), on the CPU.
    """
    kinds = (
        (0.35, draw_boxes),
        (0.60, draw_half_planes),
        (0.75, draw_strokes),
        (1.00, random_masks),
    )
    masks = torch.empty(count, 1, size, size)
    kind = torch.rand(count, generator=generator)
    below = 0.0
    for above, draw in kinds:
        chosen = (kind >= below) & (kind < above)
        masks[chosen] = draw(int(chosen.sum()), size, generator)
        below = above
    return masks


def pixel_centres(size: int) -> tuple[Tensor, Tensor]:
    """Return y `(size, 1)` and x `(1, size)` of the pixels' centres in [-1, 1]."""
    steps = (torch.arange(size) + 0.5) / size * 2 - 1
    return steps[:, None], steps[None, :]


def draw_boxes(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Draw one box each, of 0.15 to 0.65 of the crop's sides, somewhere in it."""
    numbers = torch.rand(4, count, 1, 1, 1, generator=generator)
    y, x = pixel_centres(size)
    centre_y, centre_x = 0.8 * (2 * numbers[:2] - 1)
    half_height, half_width = 0.15 + 0.5 * numbers[2:]
    return (((y - centre_y).abs() < half_height) & ((x - centre_x).abs() < half_width)).float()


def draw_half_planes(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Draw one side each, as in outpainting: at most 6 degrees off the border's direction."""
    numbers = torch.rand(3, count, 1, 1, 1, generator=generator)
    y, x = pixel_centres(size)
    angle = math.pi / 2 * (4 * numbers[0]).floor() + 0.2 * (numbers[1] - 0.5)
    edge = 0.9 * numbers[2] - 0.3
    return (x * angle.cos() + y * angle.sin() > edge).float()


def draw_strokes(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Draw one thick free-form stroke each: the surroundings of a smooth random walk."""
    start = 1.6 * torch.rand(count, 1, 2, generator=generator) - 0.8
    turns = 0.5 * torch.randn(count, STROKE_POINTS, generator=generator)
    heading = 2 * math.pi * torch.rand(count, 1, generator=generator) + turns.cumsum(1)
    steps = 0.08 * torch.stack([heading.sin(), heading.cos()], -1)
    points = (start + steps.cumsum(1)).clamp(-1, 1)
    y, x = pixel_centres(size)
    squared = (y - points[..., :1, None]) ** 2 + (x - points[..., 1:, None]) ** 2
    radius = 0.06 + 0.14 * torch.rand(count, 1, 1, generator=generator)
    return (squared.amin(1) < radius**2).float().unsqueeze(1)
