"""Held-out figures: the autoencoder's reconstruction, and filling a centred hole."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from diffusers import StableDiffusionInpaintPipeline
from kornia.metrics import ssim
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from realfill.devices import DTYPES, choose_precision
from realfill.model.base import load_base
from realfill.photo_training.photos import LARGEST_CROP, read_photo
from realfill.sampling.sampler import complete
from realfill.settings import SamplingSettings
from realfill.sheets.contact import mark_hole
from scripts.tiny_base import SIZE

SAMPLES = 4
"""Fills of each photo by the base."""
SHOWN = 12


@dataclass(frozen=True)
class Figures:
    """What was measured on the held-out photos."""

    photos: int
    reconstruction: float
    """Mean PSNR in dB of the autoencoder at the native size."""
    filling: dict[str, tuple[float, float]]
    """Way to fill -> mean PSNR in dB and mean SSIM inside the hole."""


def evaluate(folder: Path, paths: list[Path]) -> tuple[Figures, Image.Image]:
    """Measure the pipeline in `folder` on the photos; return the figures and a sheet of samples.

    The hole is a centred quarter of the area; the sheet shows the first fill of twelve photos
    that a fixed seed draws.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    pipeline = load_base(str(folder), DTYPES[choose_precision(device, None)]).to(device)
    squares = [square(path) for path in paths]
    hole = np.zeros((SIZE, SIZE), dtype=bool)
    hole[SIZE // 4 : -SIZE // 4, SIZE // 4 : -SIZE // 4] = True
    mask = Image.fromarray((hole * 255).astype(np.uint8))
    scores: dict[str, list[tuple[float, float]]] = {"base": []} | {name: [] for name in PLAIN_FILLS}
    first_fills = []
    for photo in tqdm(squares, desc="evaluation"):
        truth = np.asarray(photo)
        settings = SamplingSettings(SIZE)
        fills = [
            fill
            for _, fill in complete(pipeline, photo, mask, range(SAMPLES), 0, settings, quiet=True)
        ]
        first_fills.append(fills[0])
        scores["base"] += [score(np.asarray(fill), truth, hole) for fill in fills]
        for name, fill in PLAIN_FILLS.items():
            scores[name].append(score(fill(truth, hole), truth, hole))
    means = {name: tuple(np.mean(values, axis=0).tolist()) for name, values in scores.items()}
    figures = Figures(len(squares), reconstruction_psnr(pipeline, squares), means)
    return figures, draw_samples(squares, mask, first_fills)


def square(path: Path) -> Image.Image:
    """Return the middle square of a photo at the native size."""
    side = round(SIZE * LARGEST_CROP)
    photo = read_photo(path, side)
    left, top = (photo.width - side) // 2, (photo.height - side) // 2
    photo = photo.crop((left, top, left + side, top + side))
    return photo.resize((SIZE, SIZE), Image.Resampling.BOX)


def fill_with_mean(photo: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """Fill the hole with the mean colour of the known pixels."""
    filled = photo.copy()
    filled[hole] = photo[~hole].mean(0).round()
    return filled


def fill_with_opencv(method: int) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Return one of OpenCV's two ways to continue the surroundings into a hole."""
    return lambda photo, hole: cv2.inpaint(photo, hole.astype(np.uint8), 3, method)


PLAIN_FILLS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "mean colour of the known pixels": fill_with_mean,
    "OpenCV Telea": fill_with_opencv(cv2.INPAINT_TELEA),
    "OpenCV Navier-Stokes": fill_with_opencv(cv2.INPAINT_NS),
}


def score(image: np.ndarray, truth: np.ndarray, hole: np.ndarray) -> tuple[float, float]:
    """Return PSNR in dB over the pixels of `hole`, and SSIM: its map's mean over them.

    Images are uint8 `(H, W, 3)`; `hole` is bool `(H, W)`.
    """
    error = ((image[hole].astype(np.float64) - truth[hole]) ** 2).mean()
    inside = torch.from_numpy(hole).expand(1, 3, *hole.shape)
    similarity = ssim(to_tensor(image), to_tensor(truth), window_size=11)[inside].mean()
    return 10 * np.log10(255**2 / error), similarity.item()


def to_tensor(image: np.ndarray) -> Tensor:
    """Return a uint8 image `(H, W, 3)` as `(1, 3, H, W)` in [0, 1]."""
    return torch.from_numpy(image.copy()).permute(2, 0, 1)[None] / 255


@torch.no_grad()
def reconstruction_psnr(
    pipeline: StableDiffusionInpaintPipeline, photos: list[Image.Image]
) -> float:
    """Return the autoencoder's mean PSNR in dB over `photos`, from the posterior's mean."""
    values = []
    for photo in photos:
        pixels = pipeline.image_processor.preprocess(photo).to(pipeline.device, pipeline.vae.dtype)
        decoded = pipeline.vae(pixels).sample.float().clamp(-1, 1)
        values.append(-10 * ((decoded - pixels) / 2).square().mean().log10())
    return torch.stack(values).mean().item()


def draw_samples(
    squares: list[Image.Image], mask: Image.Image, fills: list[Image.Image]
) -> Image.Image:
    """Draw photos by a fixed seed: with the hole marked, filled, and as they are."""
    chosen = random.Random(0).sample(range(len(squares)), min(SHOWN, len(squares)))
    sheet = Image.new("RGB", (len(chosen) * SIZE, 3 * SIZE))
    for column, index in enumerate(chosen):
        rows = (mark_hole(squares[index], mask), fills[index], squares[index])
        for row, image in enumerate(rows):
            sheet.paste(image, (column * SIZE, row * SIZE))
    return sheet
