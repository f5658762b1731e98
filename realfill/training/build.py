"""Bringing a base to where it can be trained: layers, memory savings, optimizer."""

import torch
from accelerate import Accelerator
from diffusers import StableDiffusionInpaintPipeline

from realfill.devices import DTYPES
from realfill.errors import UserError
from realfill.model.base import first_line
from realfill.model.lora import add_lora
from realfill.model.quantization import replace_linear_layers
from realfill.scene import Scene
from realfill.settings import TrainingFlags, TrainingSettings
from realfill.training import loop
from realfill.training.crops import upload_photos
from realfill.training.loop import Training


def set_up(
    accelerator: Accelerator,
    pipeline: StableDiffusionInpaintPipeline,
    scene: Scene,
    settings: TrainingSettings,
    flags: TrainingFlags,
) -> Training:
    """Add the LoRA layers and bring everything to the device."""
    if flags.enable_xformers_memory_efficient_attention:
        enable_xformers(pipeline)
    if settings.use_4bit_base:
        replace_linear_layers(pipeline.unet, DTYPES[settings.mixed_precision])
    if flags.gradient_checkpointing:
        pipeline.unet.enable_gradient_checkpointing()
        pipeline.text_encoder.gradient_checkpointing_enable()
    torch.manual_seed(settings.seed)  # the initial LoRA layers
    add_lora(pipeline, settings)
    photos = upload_photos(scene, settings.resolution, accelerator.device)
    run_state = loop.prepare(accelerator, pipeline, photos, settings)
    if flags.offload_idle_models:
        offload_idle_models(pipeline, run_state)
    return run_state


def offload_idle_models(pipeline: StableDiffusionInpaintPipeline, run_state: Training) -> None:
    """Keep in main memory what is not used in every step; encode photos one at a time."""
    pipeline.vae.enable_slicing()
    pipeline.vae.to("cpu")
    if run_state.frozen_embeddings is not None:
        pipeline.text_encoder.to("cpu")


def enable_xformers(pipeline: StableDiffusionInpaintPipeline) -> None:
    """Use xformers' attention. Raises `UserError` where it was built for another torch."""
    try:
        pipeline.unet.enable_xformers_memory_efficient_attention()
    except (ImportError, RuntimeError, NotImplementedError, ValueError) as error:
        raise UserError(
            "--enable_xformers_memory_efficient_attention: the installed xformers does not work "
            f"here ({first_line(error)}); install one built for torch {torch.__version__}, or "
            "leave the flag out"
        ) from None
