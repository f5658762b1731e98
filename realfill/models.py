"""Loading models: a base, and what training made of it. Weights are safetensors only."""

import hashlib
import sys
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionInpaintPipeline, UNet2DConditionModel
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError
from peft.utils import get_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import AutoTokenizer, CLIPTextModel

from realfill.devices import DTYPES
from realfill.errors import UserError
from realfill.files import file_hash
from realfill.record import LORA_FILE, RECORD_FILE, read_record
from realfill.settings import DEFAULT_BASE

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
        name = str(Path(__file__).parent.parent / EMBEDDED_BASE)
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


def fingerprint(pipeline: StableDiffusionInpaintPipeline, dtype: torch.dtype | None = None) -> str:
    """Return a hash that tells models apart: a sample of the values of every tensor.

    With `dtype`, as if the weights had been loaded as that.
    """
    digest = hashlib.sha256()
    for model in (pipeline.unet, pipeline.text_encoder, pipeline.vae):
        for name, tensor in sorted(model.state_dict().items()):
            values = tensor.flatten()
            sample = values[:: max(1, values.numel() // 256)]
            if dtype and sample.is_floating_point():
                sample = sample.to(dtype)
            digest.update(f"{name}{tuple(tensor.shape)}".encode())
            digest.update(sample.float().cpu().numpy().tobytes())
    return digest.hexdigest()


def fingerprints(pipeline: StableDiffusionInpaintPipeline) -> dict[str, str]:
    """Return the fingerprint by precision: the weights' own, and those that they can be cut to."""
    own = pipeline.unet.dtype
    dtypes = DTYPES.values() if own == torch.float32 else (own,)
    return {name: fingerprint(pipeline, dtype) for name, dtype in DTYPES.items() if dtype in dtypes}


def require_recorded_base(
    pipeline: StableDiffusionInpaintPipeline, record: dict[str, Any], folder: Path
) -> None:
    """Raise `UserError` if `pipeline` is not the base that `record` was written with.

    Silent if the record has no fingerprint in a precision that `pipeline` can be cut to.
    """
    before = record.get("base_fingerprints")
    if before is None and "base" in record.get("identity", {}):
        before = {record.get("settings", {}).get("mixed_precision"): record["identity"]["base"]}
    now = fingerprints(pipeline)
    common = now.keys() & (before or {}).keys()
    if any(now[name] != before[name] for name in common):
        raise UserError(
            f"{folder}: was trained on another base than this one, or the base has changed since; "
            "give the right one as --pretrained_model_name_or_path"
        )


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


def find_lora_damage(folder: Path, record: dict[str, Any]) -> str | None:
    """Say what is wrong with the LoRA file of `folder`, or return None if nothing is.

    Records of earlier releases hold no hash; then its numbers are looked at alone.
    """
    path = folder / LORA_FILE
    if "lora_sha256" in record and file_hash(path) != record["lora_sha256"]:
        return f"is not the file that {RECORD_FILE} speaks of: damaged or replaced"
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        return f"damaged ({first_line(error)})"
    if not tensors:
        return "holds no tensors"
    if not all(tensor.isfinite().all() for tensor in tensors.values()):
        return "holds numbers that are not finite"
    return None


def unused_keys(pipeline: StableDiffusionInpaintPipeline, names: set[str]) -> list[str]:
    """Return which of the tensors `names` of a LoRA file, or of its layers, were not loaded.

    diffusers passes over names that it does not know. Other implementations' files have names
    that it converts; of those the numbers of tensors are compared.
    """
    loaded = {
        f"{part}.{name}"
        for part in ("unet", "text_encoder")
        for adapter in getattr(getattr(pipeline, part), "peft_config", {})
        for name in get_peft_model_state_dict(getattr(pipeline, part), adapter_name=adapter)
    }
    if any(".lora_A." in name for name in names):
        return sorted(names ^ loaded)
    weights = sorted(name for name in names if not name.endswith("alpha"))
    return [] if len(weights) == len(loaded) else weights or ["none"]


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
