"""Bringing a base to where it can be trained: layers, memory savings, optimizer, schedules."""

from functools import partial
from importlib import import_module

import torch
from diffusers import DDPMScheduler, StableDiffusionInpaintPipeline
from diffusers.optimization import get_scheduler
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from realfill.devices import DTYPES
from realfill.errors import UserError
from realfill.model.attention import attend_on_cpu
from realfill.model.base import first_line
from realfill.model.lora import add_lora, trainable
from realfill.model.quantization import replace_linear_layers
from realfill.settings import TrainingFlags, TrainingSettings


def make_trainable(
    pipeline: StableDiffusionInpaintPipeline,
    settings: TrainingSettings,
    flags: TrainingFlags,
    device: torch.device,
) -> None:
    """Add LoRA layers and the memory savings of the flags, and bring all to `device`."""
    if flags.enable_xformers_memory_efficient_attention:
        enable_xformers(pipeline)
    if settings.use_4bit_base:
        replace_linear_layers(pipeline.unet, DTYPES[settings.mixed_precision])
    if flags.gradient_checkpointing:
        pipeline.unet.enable_gradient_checkpointing()
        pipeline.text_encoder.gradient_checkpointing_enable()
    torch.manual_seed(settings.seed)  # the initial LoRA layers
    add_lora(pipeline, settings)
    pipeline.to(device)
    if device.type == "cpu":
        pipeline.unet.set_attn_processor(attend_on_cpu)


def enable_xformers(pipeline: StableDiffusionInpaintPipeline) -> None:
    """Use xformers' attention. Raises `UserError` if it was built for another torch."""
    try:
        pipeline.unet.enable_xformers_memory_efficient_attention()
    except (ImportError, RuntimeError, NotImplementedError, ValueError) as error:
        raise UserError(
            "--enable_xformers_memory_efficient_attention: the installed xformers does not work "
            f"here ({first_line(error)}); install one built for torch {torch.__version__}, or "
            "leave the flag out"
        ) from None


def make_optimizer(
    pipeline: StableDiffusionInpaintPipeline, settings: TrainingSettings
) -> torch.optim.Optimizer:
    """Return AdamW, in 8 bits if asked, with a learning rate for each of the two models."""
    if settings.use_8bit_adam:
        AdamW = import_module("bitsandbytes.optim").AdamW8bit
    else:
        AdamW = partial(torch.optim.AdamW, fused=True)
    rates = {
        pipeline.unet: settings.unet_learning_rate,
        pipeline.text_encoder: settings.text_encoder_learning_rate,
    }
    return AdamW(
        [{"params": list(trainable(model).values()), "lr": rate} for model, rate in rates.items()],
        betas=(settings.adam_beta1, settings.adam_beta2),
        weight_decay=settings.adam_weight_decay,
        eps=settings.adam_epsilon,
    )


def make_lr_scheduler(optimizer: torch.optim.Optimizer, settings: TrainingSettings) -> LRScheduler:
    """Return the schedule of the learning rates."""
    return get_scheduler(
        settings.lr_scheduler,
        optimizer,
        num_warmup_steps=settings.lr_warmup_steps,
        num_training_steps=settings.max_train_steps,
        num_cycles=settings.lr_num_cycles,
        power=settings.lr_power,
    )


def tokenize(pipeline: StableDiffusionInpaintPipeline, prompts: list[str]) -> Tensor:
    """Return the tokens of `prompts`, `(N, tokens)`."""
    return pipeline.tokenizer(
        prompts,
        padding="max_length",
        max_length=pipeline.tokenizer.model_max_length,
        truncation=True,
        return_tensors="pt",
    ).input_ids


def make_noise_scheduler(pipeline: StableDiffusionInpaintPipeline) -> DDPMScheduler:
    """Return the base's noise schedule. Raises `UserError` for an objective not known here."""
    scheduler = DDPMScheduler.from_config(pipeline.scheduler.config)
    if scheduler.config.prediction_type not in ("epsilon", "v_prediction"):
        kind = scheduler.config.prediction_type
        raise UserError(f"the base predicts {kind!r}; only epsilon and v_prediction can be trained")
    return scheduler
