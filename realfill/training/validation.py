"""Looking at the model while it trains: completions of the target, as a picture and in the log."""

from pathlib import Path

import numpy as np
from accelerate import Accelerator
from diffusers import StableDiffusionInpaintPipeline
from PIL import Image

from realfill.placement import brought_to
from realfill.record import VALIDATIONS
from realfill.sampling.sampler import complete
from realfill.scene import Scene
from realfill.settings import SamplingSettings, TrainingSettings
from realfill.storage import write_image


def validate(
    accelerator: Accelerator,
    pipeline: StableDiffusionInpaintPipeline,
    scene: Scene,
    settings: TrainingSettings,
    count: int,
    step: int,
) -> Image.Image:
    """Sample `count` completions with the model in training itself, and log them.

    Returns them beside each other.
    """
    models = (pipeline.unet, pipeline.text_encoder)
    for model in models:
        model.eval()
    sampling = SamplingSettings(settings.resolution)
    photos = (scene.target, scene.mask)
    with (
        accelerator.autocast(),
        brought_to(accelerator.device, pipeline.vae, pipeline.text_encoder),
    ):
        completions = complete(pipeline, *photos, range(count), settings.seed, sampling, quiet=True)
        images = [image for _, image in completions]
    for model in models:
        model.train()
    for tracker in accelerator.trackers:
        if tracker.name == "tensorboard":
            pixels = np.stack([np.asarray(image) for image in images])
            tracker.log_images({"validation": pixels}, step=step, dataformats="NHWC")
        elif tracker.name == "wandb":
            tracker.log_images({"validation": images}, step=step)
    return Image.fromarray(np.concatenate([np.asarray(image) for image in images], axis=1))


def keep_picture(output_dir: Path, step: int, picture: Image.Image) -> None:
    """Leave what was sampled at `step` as a picture, for those who look at no log."""
    folder = output_dir / VALIDATIONS
    folder.mkdir(exist_ok=True)
    write_image(folder / f"step-{step}.png", picture)
