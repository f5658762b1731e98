"""Is a model what its record says: the base, and all of the LoRA file."""

import hashlib
from operator import attrgetter
from pathlib import Path

import torch
from diffusers import StableDiffusionInpaintPipeline
from peft.utils import get_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file

from realfill.devices import DTYPES
from realfill.errors import UserError
from realfill.record import LORA_FILE, RECORD_FILE, TrainingRecord
from realfill.storage import file_hash

PARTS = ("unet", "text_encoder", "vae")


def fingerprint(
    pipeline: StableDiffusionInpaintPipeline,
    dtype: torch.dtype | None = None,
    parts: tuple[str, ...] = PARTS,
) -> str:
    """Return a hash that tells models apart: a sample of the values of every tensor of `parts`.

    With `dtype`, as if the weights had been loaded as that.
    """
    digest = hashlib.sha256()
    for part in parts:
        for name, tensor in sorted(attrgetter(part)(pipeline).state_dict().items()):
            values = tensor.flatten()
            sample = values[:: max(1, values.numel() // 256)]
            if dtype and sample.is_floating_point():
                sample = sample.to(dtype)
            digest.update(f"{name}{tuple(tensor.shape)}".encode())
            digest.update(sample.float().cpu().numpy().tobytes())
    return digest.hexdigest()


def fingerprints(
    pipeline: StableDiffusionInpaintPipeline, parts: tuple[str, ...] = PARTS
) -> dict[str, str]:
    """Return the fingerprint by precision: the weights' own, and those that they can be cut to."""
    own = pipeline.unet.dtype
    dtypes = DTYPES.values() if own == torch.float32 else (own,)
    return {
        name: fingerprint(pipeline, dtype, parts)
        for name, dtype in DTYPES.items()
        if dtype in dtypes
    }


def require_recorded_base(
    pipeline: StableDiffusionInpaintPipeline, record: TrainingRecord, folder: Path
) -> None:
    """Raise `UserError` if `pipeline` is not the base that `record` was written with.

    Silent if the record has no fingerprint in a precision that `pipeline` can be cut to.
    """
    before = record.base_fingerprints
    if not before and "base" in record.identity:
        before = {record.settings.get("mixed_precision"): record.identity["base"]}
    now = fingerprints(pipeline)
    common = now.keys() & before.keys()
    if any(now[name] != before[name] for name in common):
        raise UserError(
            f"{folder}: was trained on another base than this one, or the base has changed since; "
            "give the right one as --pretrained_model_name_or_path"
        )


def find_lora_damage(folder: Path, record: TrainingRecord) -> str | None:
    """Say what is wrong with the LoRA file of `folder`, or return None if nothing is.

    Records of earlier releases hold no hash; then its numbers are looked at alone.
    """
    path = folder / LORA_FILE
    if record.lora_sha256 is not None and file_hash(path) != record.lora_sha256:
        return f"is not the file that {RECORD_FILE} speaks of: damaged or replaced"
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        return f"damaged ({error})"
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
