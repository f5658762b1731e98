"""Looking at the model while it trains: completions of the target, in the log."""

import numpy as np
from accelerate import Accelerator
from diffusers import StableDiffusionInpaintPipeline

from realfill.placement import brought_to
from realfill.sampling.sampler import complete
from realfill.scene import Scene
from realfill.settings import SamplingSettings


def validate(
    accelerator: Accelerator,
    pipeline: StableDiffusionInpaintPipeline,
    scene: Scene,
    resolution: int,
    seed: int,
    count: int,
    step: int,
) -> None:
    """Sample `count` completions with the model in training itself and log them."""
    pipeline.unet.eval()
    pipeline.text_encoder.eval()
    sampling = SamplingSettings(resolution)
    with (
        accelerator.autocast(),
        brought_to(accelerator.device, pipeline.vae, pipeline.text_encoder),
    ):
        images = [
            image
            for _, image in complete(
                pipeline,
                scene.target,
                scene.mask,
                range(count),
                seed,
                sampling,
                quiet=True,
            )
        ]
    pipeline.unet.train()
    pipeline.text_encoder.train()
    for tracker in accelerator.trackers:
        if tracker.name == "tensorboard":
            pixels = np.stack([np.asarray(image) for image in images])
            tracker.log_images({"validation": pixels}, step=step, dataformats="NHWC")
        elif tracker.name == "wandb":
            tracker.log_images({"validation": images}, step=step)
