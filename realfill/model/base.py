"""Loading models: a base, and what training made of it. Weights are safetensors only."""

import sys
from pathlib import Path

import torch
from diffusers import StableDiffusionInpaintPipeline, UNet2DConditionModel
from safetensors import SafetensorError
from transformers import AutoTokenizer

from realfill.errors import UserError
from realfill.model.hub import first_line, hub_answers
from realfill.settings import DEFAULT_BASE

MOVED = {"stabilityai/stable-diffusion-2-inpainting": DEFAULT_BASE}
EMBEDDED_BASE = "data/tiny-inpainting"
"""The name of the base that comes with the suite, wherever the scripts are started."""


def resolve_base(name: str) -> str:
    """Return where the base `name` is now: a folder, or an id on the hub.

    Raises `UserError` if `name` looks like a path and there is nothing.
    """
    if name in MOVED:
        print(f"{name} was deleted from the hub; using its mirror {MOVED[name]}", file=sys.stderr)
        return MOVED[name]
    if Path(name) == Path(EMBEDDED_BASE):
        name = str(Path(__file__).parents[2] / EMBEDDED_BASE)
        if not Path(name).is_dir():
            raise UserError(
                f"{EMBEDDED_BASE}: the embedded base is in a clone of the repository, not in the "
                "installed package; give the folder in a clone, or another base"
            )
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

    Raises `UserError` if it cannot be found or its UNet takes no mask and masked latents.
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


def check_inpainting(source: str, revision: str | None, local: bool) -> None:
    """Refuse a base that is no inpainting model, from its UNet's configuration alone."""
    unet = UNet2DConditionModel.load_config(
        source, subfolder="unet", revision=revision, local_files_only=local
    )
    channels, latents = unet["in_channels"], unet["out_channels"]
    if channels != 2 * latents + 1:
        raise UserError(
            f"{source}: its UNet takes {channels} channels, but an inpainting model takes "
            f"{2 * latents + 1} (latents, mask, masked latents); use an inpainting base, such as "
            f"{DEFAULT_BASE}"
        )


def native_resolution(pipeline: StableDiffusionInpaintPipeline) -> int:
    """Return the short side in pixels that the base was made for."""
    return pipeline.unet.config.sample_size * pipeline.vae_scale_factor
