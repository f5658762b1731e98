"""Looking at the model while it trains: completions of the target, in the log."""

import numpy as np
from accelerate import Accelerator
from diffusers import StableDiffusionInpaintPipeline

from realfill.placement import brought_to
from realfill.sampling.sampler import complete
from realfill.scene import Scene
from realfill.settings import SamplingSettings, TrainingSettings


def validate(
    accelerator: Accelerator,
    pipeline: StableDiffusionInpaintPipeline,
    scene: Scene,
    settings: TrainingSettings,
    count: int,
    step: int,
) -> None:
    """Sample `count` completions with the model in training itself and log them."""
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
