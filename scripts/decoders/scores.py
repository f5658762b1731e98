"""Decoding and joining what was sampled in every way, and what each is worth."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionInpaintPipeline
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from benchmark.psnr import psnr_inside
from benchmark.ring_colour import colour_error, ring_of
from benchmark.seam import seam_against
from benchmark.ssim import ssim_against
from realfill.images.blend import (
    changed_mask,
    composite,
    hole_of,
    resize,
    sampled_mask,
    size_in_multiples,
)
from realfill.images.seams import blend
from realfill.model.base import load_base, native_resolution
from realfill.model.decoder import HarmonizingDecoder, load_decoder
from realfill.sampling.latents import decode
from realfill.storage import write_json
from scripts.decoders.cases import Case
from scripts.scores import describe, print_table

SCORES = ("psnr", "ssim", "seam", "ring")
JOINS: dict[str, Callable[[Image.Image, Image.Image, Image.Image], Image.Image]] = {
    "mask": composite,
    "join": blend,
}
WAYS = ("autoencoder, mask", "autoencoder, join", "decoder, mask", "decoder, join")
"""What decodes, and whether the feathered mask alone joins or the gradient domain before it."""


def report(cases: list[Case], latents: dict[str, Tensor], base: str, folder: Path, work: Path):
    """Score every way on every case and print the tables; what was scored is kept in `work`."""
    pipeline = load_base(base, torch.float32)
    decoder = load_decoder(folder, pipeline)
    path = work / f"scores-{folder.name}.json"
    scores = json.loads(path.read_text()) if path.exists() else {}
    for case in tqdm(cases, desc="decoding"):
        if case.name not in scores:
            sampled = {
                name.rsplit(" ", 1)[1]: each
                for name, each in latents.items()
                if name.rsplit(" ", 1)[0] == case.name
            }
            scores[case.name] = {
                way: [score_fills(case, fills) for fills in by_seed]
                for way, by_seed in fill_all(case, sampled, pipeline, decoder).items()
            }
            write_json(path, scores)
    photos = {name: each for name, each in scores.items() if "/" not in name}
    scenes = {name: each for name, each in scores.items() if "/" in name}
    if photos:
        print_means(f"{len(photos)} held-out photos", photos)
    if scenes:
        print_means(f"{len(scenes)} holes of scenes", scenes)
        for which, digits in ((0, 2), (2, 2), (3, 2)):
            rows = [
                [name, *(describe([seed[which] for seed in each[way]], digits) for way in WAYS)]
                for name, each in scenes.items()
            ]
            print_table([SCORES[which], *WAYS], rows)


def fill_all(
    case: Case,
    sampled: dict[str, Tensor],
    pipeline: StableDiffusionInpaintPipeline,
    decoder: HarmonizingDecoder,
) -> dict[str, list[list[np.ndarray]]]:
    """Return the finished pictures by way, seed and sample, uint8 `(H, W, 3)`."""
    size = size_in_multiples(
        case.target.size, native_resolution(pipeline), pipeline.vae_scale_factor
    )
    photo, hole = resize(case.target, size), sampled_mask(case.mask, size)
    fills: dict[str, list[list[np.ndarray]]] = {way: [] for way in WAYS}
    for latents in sampled.values():
        for what, module in (("autoencoder", None), ("decoder", decoder)):
            pictures = decode(pipeline, latents.float(), photo, hole, module)
            images = pipeline.numpy_to_pil(pipeline.image_processor.pt_to_numpy(pictures))
            for how, join in JOINS.items():
                finished = [np.asarray(join(i, case.target, case.mask)) for i in images]
                fills[f"{what}, {how}"].append(finished)
    return fills


def score_fills(case: Case, fills: list[np.ndarray]) -> list[float]:
    """Return the means of `SCORES` over the fills of one seed.

    PSNR and SSIM are of the whole hole; seam and ring of what geometry leaves of it.
    """
    truth = np.asarray(case.truth)
    known = np.asarray(changed_mask(case.mask)) == 0
    for fill in fills:
        assert np.array_equal(fill[known], np.asarray(case.target)[known]), case.name
    ssim, rest = ssim_against(truth, case.hole), hole_of(case.mask)
    seam, ring = seam_against(truth, rest), ring_of(rest)
    rows = [
        [
            psnr_inside(fill, truth, case.hole),
            ssim(fill),
            seam(fill),
            colour_error(fill, truth, ring),
        ]
        for fill in fills
    ]
    return np.mean(rows, axis=0).tolist()


def print_means(title: str, scores: dict[str, dict[str, list[list[float]]]]) -> None:
    """Print the means over the cases, ± their spread over the seeds."""
    rows = []
    for way in WAYS:
        by_seed = np.array([each[way] for each in scores.values()]).mean(0)
        rows.append([way, *map(describe, by_seed.T, (2, 3, 2, 2))])
    print_table([title, "PSNR (dB)", "SSIM", "seam", "ring colour"], rows)
