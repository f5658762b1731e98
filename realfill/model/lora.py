"""The adaptation: LoRA on the UNet and the text encoder (RealFill, section 3.2)."""

from pathlib import Path

import torch
from diffusers import StableDiffusionInpaintPipeline
from diffusers.training_utils import cast_training_params
from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from peft.utils import get_peft_model_state_dict
from torch import Tensor, nn

from realfill.errors import UserError
from realfill.settings import TrainingSettings

TEXT_ENCODER_TARGETS = ("k_proj", "q_proj", "v_proj", "out_proj")


def add_lora(pipeline: StableDiffusionInpaintPipeline, settings: TrainingSettings) -> None:
    """Freeze `pipeline` and add trainable fp32 LoRA layers to UNet and text encoder.

    The text encoder gets none if its learning rate is 0. Raises `UserError` if a model has
    no modules of the names asked for.
    """
    for model in (pipeline.vae, pipeline.unet, pipeline.text_encoder):
        model.requires_grad_(False)
    targets_of = {pipeline.unet: settings.lora_target_modules}
    if settings.text_encoder_learning_rate > 0:
        targets_of[pipeline.text_encoder] = TEXT_ENCODER_TARGETS
    for model, targets in targets_of.items():
        config = LoraConfig(
            r=settings.lora_rank,
            lora_alpha=settings.lora_alpha,
            lora_dropout=settings.lora_dropout,
            target_modules=list(targets),
        )
        try:
            model.add_adapter(config)
        except ValueError as error:
            raise UserError(f"--lora_target_modules {' '.join(targets)}: {error}") from None
        for layer in model.modules():
            if isinstance(layer, LoraLayer):
                # Under autocast, peft's cast of every input to fp32 would be undone at once.
                layer.cast_input_dtype_enabled = False
    cast_training_params([pipeline.unet, pipeline.text_encoder], dtype=torch.float32)


def trainable(model: nn.Module) -> dict[str, Tensor]:
    """Return the parameters of `model` that train, by name."""
    return {name: value for name, value in model.named_parameters() if value.requires_grad}


def save_lora(pipeline: StableDiffusionInpaintPipeline, folder: Path) -> None:
    """Write the LoRA file that stock `load_lora_weights(folder)` reads, alpha included."""
    parts = {}
    for name in ("unet", "text_encoder"):
        model = getattr(pipeline, name)
        if not trainable(model):
            continue
        # In peft's own names: diffusers' converter renames attention layers only, and of a file
        # with both kinds of names its loader drops one without an error.
        parts[f"{name}_lora_layers"] = get_peft_model_state_dict(model)
        # Without the metadata diffusers takes alpha for the rank when it loads. The dropout must
        # not come along: diffusers leaves it switched on, and pictures would differ by chance.
        # Nor must the place of the base, a path on this machine. A set has no order of its own.
        settings = model.peft_config["default"].to_dict()
        settings |= {"lora_dropout": 0.0, "base_model_name_or_path": None}
        settings["target_modules"] = sorted(settings["target_modules"])
        parts[f"{name}_lora_adapter_metadata"] = settings
    StableDiffusionInpaintPipeline.save_lora_weights(folder, **parts)
