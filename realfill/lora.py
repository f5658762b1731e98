"""The adaptation: LoRA on the UNet and the text encoder (RealFill, section 3.2)."""

from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import StableDiffusionInpaintPipeline
from diffusers.training_utils import cast_training_params
from diffusers.utils import convert_state_dict_to_diffusers
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from torch import Tensor, nn

UNET_TARGETS = ("to_k", "to_q", "to_v", "to_out.0")
TEXT_ENCODER_TARGETS = ("k_proj", "q_proj", "v_proj", "out_proj")


@dataclass(frozen=True)
class LoraSettings:
    """Rank, alpha, dropout, which biases train, and the UNet's adapted modules by name."""

    rank: int = 8
    alpha: int = 16
    dropout: float = 0.1
    bias: str = "none"
    target_modules: tuple[str, ...] = UNET_TARGETS


def add_lora(pipeline: StableDiffusionInpaintPipeline, settings: LoraSettings) -> None:
    """Freeze `pipeline` and add trainable fp32 LoRA layers to its UNet and text encoder."""
    for model in (pipeline.vae, pipeline.unet, pipeline.text_encoder):
        model.requires_grad_(False)
    for model, targets in (
        (pipeline.unet, settings.target_modules),
        (pipeline.text_encoder, TEXT_ENCODER_TARGETS),
    ):
        model.add_adapter(
            LoraConfig(
                r=settings.rank,
                lora_alpha=settings.alpha,
                lora_dropout=settings.dropout,
                bias=settings.bias,
                target_modules=list(targets),
            )
        )
    cast_training_params([pipeline.unet, pipeline.text_encoder], dtype=torch.float32)


def trainable(model: nn.Module) -> dict[str, Tensor]:
    """Return the parameters of `model` that train, by name."""
    return {name: value for name, value in model.named_parameters() if value.requires_grad}


def save_lora(pipeline: StableDiffusionInpaintPipeline, folder: Path) -> None:
    """Write the LoRA file that stock `load_lora_weights(folder)` reads, alpha included."""
    models = {"unet": pipeline.unet, "text_encoder": pipeline.text_encoder}
    layers = {
        name: convert_state_dict_to_diffusers(get_peft_model_state_dict(model))
        for name, model in models.items()
    }
    StableDiffusionInpaintPipeline.save_lora_weights(
        folder,
        unet_lora_layers=layers["unet"],
        text_encoder_lora_layers=layers["text_encoder"],
        # Without the metadata diffusers guesses alpha = rank when it loads.
        unet_lora_adapter_metadata=models["unet"].peft_config["default"].to_dict(),
        text_encoder_lora_adapter_metadata=models["text_encoder"].peft_config["default"].to_dict(),
    )
