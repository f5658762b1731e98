"""The model card of the embedded base, from what was trained and measured."""

from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

import torch

from realfill.models import load_base
from scripts.tiny_base.evaluation import Figures
from scripts.tiny_base.loop import STATE_FILE, read_progress
from scripts.tiny_base.photos import SIZE


@dataclass(frozen=True)
class PartFacts:
    """What training one part took."""

    name: str
    parameters: int
    steps: int
    samples: int
    seconds: float


def gather_facts(arguments: Namespace) -> list[PartFacts]:
    """Return the facts of both parts, from the pipeline folder and the states of training."""
    pipeline = load_base(str(arguments.output_dir), torch.float32)
    parts = (
        ("autoencoder", pipeline.vae, arguments.autoencoder_batch_size),
        ("unet", pipeline.unet, arguments.unet_batch_size),
    )
    facts = []
    for name, model, batch_size in parts:
        steps, seconds = read_progress(arguments.work_dir / name / STATE_FILE)
        parameters = sum(parameter.numel() for parameter in model.parameters())
        facts.append(PartFacts(name, parameters, steps, steps * batch_size, seconds))
    return facts


def write_card(arguments: Namespace, photos: int, figures: Figures, folder: Path) -> None:
    """Write `README.md` into `folder`."""
    training = [
        f"| {part.name} | {part.parameters / 1e6:.2f} M | {part.steps:,} | {part.samples:,} "
        f"| {part.seconds / 60:.0f} min |"
        for part in gather_facts(arguments)
    ]
    filling = [
        f"| {name} | {psnr:.2f} | {similarity:.3f} |"
        for name, (psnr, similarity) in figures.filling.items()
    ]
    card = CARD.format(
        size=SIZE,
        photos=photos,
        held_out=figures.photos,
        data_note=arguments.data_note,
        hardware=arguments.hardware,
        training="\n".join(training),
        reconstruction=figures.reconstruction,
        filling="\n".join(filling),
    )
    (folder / "README.md").write_text(card, "utf-8")


CARD = """# tiny-inpainting

A small inpainting model, so that this project runs, demonstrates itself and is tested where
there is no model hub and no GPU. It is an ordinary `StableDiffusionInpaintPipeline` folder with
the classes and the code path of Stable Diffusion 2 inpainting, about a fiftieth of its size: a
KL autoencoder (factor 8, 16 channels), a 33-channel UNet with cross-attention, and a byte-level
CLIP text encoder whose weights are random and fixed, since there were no captions to learn from.
fp16 safetensors; native size {size} px on the short side; v-prediction with zero terminal SNR.

![Held-out photos with a hole, the first sample for each, and the photos](samples.jpg)

Twelve held-out photos, drawn by a fixed seed and not chosen: the hole, the first sample, the photo.

## Training

{photos:,} photos; {held_out} others were held out. {data_note}

| part | parameters | steps | samples seen | wall time |
| --- | ---: | ---: | ---: | ---: |
{training}

Hardware: {hardware}. The weights are the averages of those of the last steps. The script is
`scripts/train_tiny_base.py`; the files of `scripts/tiny_base/` say what the losses are, and
[docs/benchmarks.md](../../docs/benchmarks.md) why the design is this one.

## Held-out figures

On the {held_out} held-out photos at {size} × {size}. The autoencoder reconstructs them with
**{reconstruction:.2f} dB**. Inside a centred hole of a quarter of the area, PSNR and SSIM
(kornia's, window 11, its map's mean over the hole); the base with 4 samples for each photo:

| way to fill | PSNR (dB) | SSIM |
| --- | ---: | ---: |
{filling}

## What it is not for

It has seen little of the world and knows no words. It continues colours, large shapes and some
lines, and invents nothing that a person would call an object. It is not for completing photos
that matter, nor for judging RealFill: for that, train on Stable Diffusion 2 inpainting.
"""
