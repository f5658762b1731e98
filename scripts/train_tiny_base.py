"""Train the small inpainting base model of `data/tiny-inpainting` from a folder of photos.

    python -m scripts.train_tiny_base --photos PHOTOS --work_dir work/tiny
    python -m scripts.train_tiny_base --photos PHOTOS --work_dir work/tiny --evaluate

An autoencoder is trained first, then a UNet on its latents; with `--start_from` the UNet of an
existing pipeline folder is trained further, and its autoencoder left as it is. The result is an
ordinary `StableDiffusionInpaintPipeline` folder. A run that is stopped, or has used up
`--max_minutes`, goes on from `--work_dir` when the same command is given again. The rooms of
`scripts/tiny_base/` hold one subject each.
"""

import argparse
import json
import platform
import shutil
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import torch
from diffusers import AutoencoderKL, StableDiffusionInpaintPipeline

from realfill.command_line import make_parser, run
from realfill.errors import UserError
from realfill.model.attention import attend_on_cpu
from realfill.model.base import load_base
from realfill.photo_training.loop import OutOfTime, Plan, train
from realfill.photo_training.photos import Photos, list_photos, upload_photos
from scripts.tiny_base import SIZE
from scripts.tiny_base.autoencoder import (
    build_autoencoder,
    latent_scale,
    reconstruction_loss,
    silence_posterior,
)
from scripts.tiny_base.card import read_history, write_card
from scripts.tiny_base.evaluation import evaluate
from scripts.tiny_base.text import load_text_encoder, write_text_encoder
from scripts.tiny_base.unet import build_unet, denoising_loss, embed_prompts, make_scheduler

AUTOENCODER_LEARNING_RATE = 1.5e-3
UNET_LEARNING_RATE = 1e-3
AVERAGED_SHARE = 0.02
"""Of the run: the span of the average. A longer one lost 0.7 dB of reconstruction."""
LARGEST_SHARD = "14MB"
"""diffusers goes a little over it."""


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = make_parser("Train the embedded base.")
    add = parser.add_argument
    add("--photos", type=Path, required=True, help="folder of photos (.jpg, .png) to train on")
    add("--work_dir", type=Path, default=Path("work/tiny-inpainting"), help="logs and checkpoints")
    add("--output_dir", type=Path, default=Path("data/tiny-inpainting"), help="pipeline folder")
    add("--start_from", type=Path, help="pipeline folder whose UNet to train further")
    add("--autoencoder_steps", type=int, default=2990, help="(default: %(default)s)")
    add("--autoencoder_batch_size", type=int, default=16, help="(default: %(default)s)")
    add("--unet_steps", type=int, default=4600, help="(default: %(default)s)")
    add("--unet_batch_size", type=int, default=16, help="(default: %(default)s)")
    add("--max_minutes", type=float, default=float("inf"), help="save and stop after so many")
    add("--held_out", type=int, default=100, help="the last so many bsds-* are not trained on")
    add("--evaluate", action="store_true", help="only measure and write the model card")
    add("--note", default="", help="on the photos and their licence, for the card")
    add("--hardware", default=platform.processor() or platform.machine(), help="for the card")
    return parser.parse_args()


def main() -> None:
    """Train what is not trained yet, write the pipeline, measure it, write its card."""
    arguments = parse_arguments()
    if arguments.start_from and arguments.start_from.resolve() == arguments.output_dir.resolve():
        raise UserError(f"{arguments.start_from}: is begun from; give another --output_dir")
    history = read_history(arguments.start_from) if arguments.start_from else []
    training, held_out = list_photos(arguments.photos, arguments.held_out)
    if not arguments.evaluate:
        try:
            pipeline = train_pipeline(arguments, training, seed=len(history))
        except OutOfTime as reached:
            print(f"{reached}; give the same command again to go on")
            return
        write_pipeline(pipeline, arguments.output_dir)
    figures, samples = evaluate(arguments.output_dir, held_out)
    samples.save(arguments.output_dir / "samples.jpg", quality=90)
    print(json.dumps(asdict(figures), indent=2))
    write_card(arguments, history, len(training), figures, arguments.output_dir)


def train_pipeline(
    arguments: argparse.Namespace, paths: list[Path], seed: int
) -> StableDiffusionInpaintPipeline:
    """Train autoencoder and UNet, going on where an earlier run was. Raises `OutOfTime`.

    `seed` draws the UNet's samples.
    """
    deadline = time.monotonic() + 60 * arguments.max_minutes
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    photos = upload_photos(paths, SIZE, device)
    if arguments.start_from:
        pipeline = load_base(str(arguments.start_from), torch.float32)
        silence_posterior(pipeline.vae)
    else:
        pipeline = make_pipeline(arguments.work_dir, train_autoencoder(arguments, photos, deadline))
    pipeline.to(device)
    if device.type == "cpu":
        pipeline.unet.set_attn_processor(attend_on_cpu)
    embeddings = embed_prompts(pipeline)
    batch_size = arguments.unet_batch_size
    loss = denoising_loss(pipeline.unet, pipeline.vae, embeddings, photos, batch_size, seed)
    pipeline.unet = train(
        pipeline.unet,
        loss,
        plan(UNET_LEARNING_RATE, arguments.unet_steps),
        arguments.work_dir / "unet",
        deadline,
    )
    return pipeline


def plan(learning_rate: float, steps: int) -> Plan:
    """Return the plan of a part's training."""
    return Plan(learning_rate, steps, averaged_steps=AVERAGED_SHARE * steps)


def make_pipeline(folder: Path, vae: AutoencoderKL) -> StableDiffusionInpaintPipeline:
    """Put `vae`, a text encoder that is written into `folder`, and a new UNet together."""
    write_text_encoder(folder)
    tokenizer, text_encoder = load_text_encoder(folder)
    torch.manual_seed(0)
    return StableDiffusionInpaintPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=build_unet(),
        scheduler=make_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def train_autoencoder(
    arguments: argparse.Namespace, photos: Photos, deadline: float
) -> AutoencoderKL:
    """Train the autoencoder and give it the scale of its latents. Raises `OutOfTime`."""
    torch.manual_seed(0)
    vae = build_autoencoder().to(photos.pixels.device)
    vae = train(
        vae,
        reconstruction_loss(vae, photos, arguments.autoencoder_batch_size),
        plan(AUTOENCODER_LEARNING_RATE, arguments.autoencoder_steps),
        arguments.work_dir / "autoencoder",
        deadline,
    )
    silence_posterior(vae)
    vae.register_to_config(scaling_factor=latent_scale(vae, photos))
    return vae


def write_pipeline(pipeline: StableDiffusionInpaintPipeline, folder: Path) -> None:
    """Write `pipeline` as fp16 safetensors in place of the models that `folder` holds."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in (pipeline, pipeline.unet, pipeline.vae):
        part.register_to_config(_name_or_path=folder.name)  # else a path of this machine
    with tempfile.TemporaryDirectory(prefix=".pipeline-", dir=folder) as written:
        pipeline.to(dtype=torch.float16).save_pretrained(written, max_shard_size=LARGEST_SHARD)
        for path in Path(written).iterdir():
            if path.is_dir():
                shutil.rmtree(folder / path.name, ignore_errors=True)
            path.replace(folder / path.name)


if __name__ == "__main__":
    run(main)
