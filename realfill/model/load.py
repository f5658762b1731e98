"""Loading what training made of a base. Weights are safetensors only."""

from pathlib import Path

import torch
from diffusers import StableDiffusionInpaintPipeline, UNet2DConditionModel
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import CLIPTextModel

from realfill.errors import UserError
from realfill.model.base import (
    DEFAULT_BASE,
    EMBEDDED_BASE,
    first_line,
    load_base,
)
from realfill.model.integrity import find_lora_damage, require_recorded_base, unused_keys
from realfill.record import LORA_FILE, RECORD_FILE, TrainingRecord


def load_adapted(
    model_path: str, dtype: torch.dtype, base: str | None = None, base_only: bool = False
) -> tuple[StableDiffusionInpaintPipeline, TrainingRecord]:
    """Load what training left, here or upstream, and its record.

    `model_path` is a folder with the LoRA file, a pipeline folder or hub id, or a folder with
    `unet/` and `text_encoder/` alone. `base` overrides the base that the record names;
    `base_only` leaves the adaptation out. Raises `UserError`.
    """
    folder = Path(model_path)
    record = TrainingRecord.read(folder)
    if (folder / LORA_FILE).is_file():
        pipeline = load_base(base or recorded_base(folder, record), dtype, record.revision)
        if not (base_only and base):
            require_recorded_base(pipeline, record, folder)
        if not base_only:
            load_lora(pipeline, folder)
    elif (folder / "model_index.json").is_file() or not folder.is_dir():
        if base_only and (base or record.script):
            model_path = base or recorded_base(folder, record)
        pipeline = load_base(model_path, dtype)
    elif (folder / "unet").is_dir() and (folder / "text_encoder").is_dir():
        pipeline = load_base(base or DEFAULT_BASE, dtype)
        if not base_only:
            load_full_weights(pipeline, folder, dtype)
    else:
        raise UserError(
            f"{folder}: no {LORA_FILE}, no model_index.json, no unet/ and text_encoder/ in it; "
            "give the --output_dir of train_realfill.py"
        )
    return pipeline, record


def recorded_base(folder: Path, record: TrainingRecord) -> str:
    """Return the base that a LoRA folder was trained on, as its record names it."""
    if record.base is None:
        raise UserError(
            f"{folder}: no {RECORD_FILE} that names its base; "
            "give it as --pretrained_model_name_or_path"
        )
    base_folder = None if record.base == EMBEDDED_BASE else record.base_folder
    if base_folder and not Path(base_folder).is_dir():
        raise UserError(
            f"{base_folder}: the base of {folder} is no longer there; "
            "give its new place as --pretrained_model_name_or_path"
        )
    return base_folder or record.base


def load_lora(pipeline: StableDiffusionInpaintPipeline, folder: Path) -> None:
    """Add the LoRA file of `folder` to the weights of `pipeline`: sampling then costs no more.

    Raises `UserError` if the file is not the recorded one, or not all of it fits `pipeline`.
    """
    path = folder / LORA_FILE
    if fault := find_lora_damage(folder, TrainingRecord.read(folder)):
        raise UserError(f"{path}: {fault}; train again, or copy the file anew")
    try:
        pipeline.load_lora_weights(folder, weight_name=LORA_FILE)
        if lost := unused_keys(pipeline, set(load_file(path))):
            raise ValueError(f"{len(lost)} of its tensors do not fit, such as {lost[0]}")
        pipeline.fuse_lora(components=["unet", "text_encoder"])
        pipeline.unload_lora_weights()
    except (OSError, SafetensorError, ValueError, RuntimeError, LookupError, TypeError) as error:
        raise UserError(
            f"{path}: damaged, or trained on another base ({first_line(error)})"
        ) from error


def load_full_weights(
    pipeline: StableDiffusionInpaintPipeline, folder: Path, dtype: torch.dtype
) -> None:
    """Put the `unet/` and `text_encoder/` of `folder` into `pipeline`."""
    try:
        pipeline.unet = UNet2DConditionModel.from_pretrained(
            folder, subfolder="unet", dtype=dtype, use_safetensors=True
        )
        pipeline.text_encoder = CLIPTextModel.from_pretrained(
            folder, subfolder="text_encoder", dtype=dtype, use_safetensors=True
        )
    except (OSError, SafetensorError, ValueError, RuntimeError) as error:
        raise UserError(f"{folder}: cannot be loaded ({first_line(error)})") from error
