"""The model card of the embedded base, from what was trained and measured."""

import json
from argparse import Namespace
from dataclasses import asdict, dataclass
from pathlib import Path
from textwrap import fill

import torch

from realfill.errors import UserError
from realfill.model.base import load_base
from realfill.photo_training.loop import STATE_FILE, read_progress
from realfill.storage import write_json
from scripts.tiny_base import SIZE
from scripts.tiny_base.evaluation import Figures

HISTORY_FILE = "training.json"
"""In the pipeline folder: what training its parts took, so that training further adds to it."""


@dataclass(frozen=True)
class PartFacts:
    """What training one part took."""

    name: str
    parameters: int
    steps: int
    samples: int
    seconds: float
    hardware: str


def gather_facts(arguments: Namespace) -> list[PartFacts]:
    """Return the facts of this training, from the pipeline folder and the states of training."""
    facts = []
    pipeline = load_base(str(arguments.output_dir), torch.float32)
    parts = (
        ("autoencoder", pipeline.vae, arguments.autoencoder_batch_size),
        ("unet", pipeline.unet, arguments.unet_batch_size),
    )
    for name, model, batch_size in parts:
        state = arguments.work_dir / name / STATE_FILE
        if not state.exists():
            continue
        steps, seconds = read_progress(state)
        parameters = sum(parameter.numel() for parameter in model.parameters())
        samples = steps * batch_size
        facts.append(PartFacts(name, parameters, steps, samples, seconds, arguments.hardware))
    return facts


def read_history(folder: Path) -> list[PartFacts]:
    """Return what training the pipeline in `folder` took. Raises `UserError` if none says so."""
    if not (folder / HISTORY_FILE).is_file():
        raise UserError(f"{folder}: no {HISTORY_FILE} in it; begin from what this script left")
    return [PartFacts(**facts) for facts in json.loads((folder / HISTORY_FILE).read_text())]


def write_card(
    arguments: Namespace, before: list[PartFacts], photos: int, figures: Figures, folder: Path
) -> None:
    """Write `README.md` and the history of the training, begun with `before`, into `folder`."""
    history = before + gather_facts(arguments)
    training = [
        f"| {part.name} | {part.parameters / 1e6:.2f} M | {part.steps:,} | {part.samples:,} "
        f"| {part.seconds / 60:.0f} min | {part.hardware} |"
        for part in history
    ]
    filling = [
        f"| {name} | {psnr:.2f} | {similarity:.3f} |"
        for name, (psnr, similarity) in figures.filling.items()
    ]
    base, _ = figures.filling["base"]
    better = [name for name, (psnr, _) in figures.filling.items() if psnr > base]
    data = f"{photos:,} photos; {figures.photos} others were held out. {arguments.note}"
    verdict = f"With a higher PSNR than the base: {', '.join(better) or 'none'}. {SMOOTH}"
    card = CARD.format(
        size=SIZE,
        held_out=figures.photos,
        data=fill(data, WIDTH),
        training="\n".join(training),
        reconstruction=figures.reconstruction,
        filling="\n".join(filling),
        verdict=fill(verdict, WIDTH, break_on_hyphens=False),
    )
    (folder / "README.md").write_text(card, "utf-8")
    write_json(folder / HISTORY_FILE, [asdict(part) for part in history])


WIDTH = 100
SMOOTH = "(PSNR prefers what is smooth, and a sample is not.)"
CARD = """# tiny-inpainting

A small inpainting model, so that this project runs, demonstrates itself and is tested where
there is no model hub and no GPU. It is an ordinary `StableDiffusionInpaintPipeline` folder with
the classes and the code path of Stable Diffusion 2 inpainting, about a hundredth of its size: a
KL autoencoder (factor 4, 4 channels), a 9-channel UNet with cross-attention, and a byte-level CLIP
text encoder whose weights are random and fixed, since there were no captions to learn from.
fp16 safetensors; native size {size} px on the short side; v-prediction with zero terminal SNR.

![Held-out photos with a hole, the first sample for each, and the photos](samples.jpg)

Twelve held-out photos, drawn by a fixed seed and not chosen: the hole, the first sample, the photo.

## Training

{data}

| part | parameters | steps | samples seen | wall time | hardware |
| --- | ---: | ---: | ---: | ---: | --- |
{training}

A part named twice was trained further from where it had come. The weights are the averages of
those of the last steps. The script is `scripts/train_tiny_base.py`; the files of
`scripts/tiny_base/` say what the losses are, and
[docs/benchmarks.md](../../docs/benchmarks.md) why the design is this one.

## Held-out figures

On the {held_out} held-out photos at {size} × {size}. The autoencoder reconstructs them with
**{reconstruction:.2f} dB**. Inside a centred hole of a quarter of the area, PSNR and SSIM
(kornia's, window 11, its map's mean over the hole); the base with 4 samples for each photo, decoded
by its autoencoder alone:

| way to fill | PSNR (dB) | SSIM |
| --- | ---: | ---: |
{filling}

{verdict}

## What it is not for

It has seen little of the world and knows no words. It continues colours, fills with blotches where
it is unsure, and invents nothing that a person would call an object. It is not for completing
photos that matter, nor for judging RealFill: for that, train on Stable Diffusion 2 inpainting.
"""
