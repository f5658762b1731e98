"""PSNR and SSIM of folders of completions, and tables of them."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from benchmark.psnr import psnr_inside
from benchmark.ssim import ssim_against
from realfill.images.blend import hole_of
from realfill.images.read import read_mask, read_photo
from realfill.scene import find_image


def read_truth(scene: Path) -> Image.Image:
    """Read the truth of the scene in a folder. Raises `UserError` if there is none."""
    return read_photo(find_image(scene / "target", "gt"))


def score_images(images: Iterable[np.ndarray], scene: Path) -> list[list[float]]:
    """Return the PSNR in dB and SSIM inside the hole of each uint8 `(H, W, 3)` image of `scene`."""
    truth = np.asarray(read_truth(scene))
    hole = hole_of(read_mask(find_image(scene / "target", "mask")))
    ssim = ssim_against(truth, hole)
    return [[psnr_inside(image, truth, hole), ssim(image)] for image in images]


def score_folder(folder: Path, scene: Path) -> list[float]:
    """Return the mean PSNR in dB and SSIM inside the hole of the completions in `folder`."""
    images = [np.asarray(Image.open(path)) for path in sorted(folder.glob("[0-9]*.png"))]
    return np.mean(score_images(images, scene), axis=0).tolist()


def print_table(header: list[str], rows: list[list]) -> None:
    """Print a Markdown table; numbers with two decimals."""
    print("\n| " + " | ".join(header) + " |\n|" + " --- |" * len(header))
    for row in rows:
        cells = [f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in row]
        print("| " + " | ".join(cells) + " |")


def print_scores(scenes: list[str], ways: list[str], scores: np.ndarray) -> None:
    """Print a table of PSNR and one of SSIM, with a last row of means over the scenes.

    `scores` is `(scenes, ways, seeds, 2)`; a cell is the mean over the seeds, ± their spread.
    """
    scores = np.concatenate([scores, scores.mean(0, keepdims=True)])
    for which, (metric, digits) in enumerate((("PSNR (dB)", 2), ("SSIM", 3))):
        rows = [
            [name, *(describe(values, digits) for values in by_way[..., which])]
            for name, by_way in zip([*scenes, "**mean**"], scores, strict=True)
        ]
        print_table([metric, *ways], rows)


def describe(values: Sequence[float] | np.ndarray, digits: int) -> str:
    """Return the mean of `values` ± their standard deviation, if there are several."""
    spread = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{spread}"
