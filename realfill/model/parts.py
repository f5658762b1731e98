"""Parts that were trained for a base from photos: are they its own, and loading them."""

from pathlib import Path
from typing import TypeVar

from diffusers import ModelMixin, StableDiffusionInpaintPipeline
from safetensors import SafetensorError

from realfill.errors import UserError
from realfill.model.hub import first_line
from realfill.model.integrity import fingerprints
from realfill.record import RECORD_FILE, PartRecord

WEIGHTS_FILE = "diffusion_pytorch_model.safetensors"
Part = TypeVar("Part", bound=ModelMixin)


def require_own_base(
    folder: Path,
    record: PartRecord,
    pipeline: StableDiffusionInpaintPipeline,
    belongs_to: tuple[str, ...],
    kind: str,
    script: str,
) -> None:
    """Raise `UserError` if `folder` holds no finished part of this `kind`, or another base's."""
    if not record.steps or record.script != script:
        raise UserError(
            f"{folder}: no {kind} with a {RECORD_FILE} in it; give the --output_dir of a finished "
            f"{script}"
        )
    now = fingerprints(pipeline, belongs_to)
    common = now.keys() & record.base_fingerprints.keys()
    if not common or any(now[name] != record.base_fingerprints[name] for name in common):
        raise UserError(
            f"{folder}: this {kind} was made for another base ({record.base}); train one for this "
            f"base with {script}, or do without"
        )


def load_part(kind: type[Part], folder: Path, pipeline: StableDiffusionInpaintPipeline) -> Part:
    """Load a part; it gets the precision and the device of `pipeline`. Raises `UserError`."""
    try:
        part = kind.from_pretrained(
            folder, torch_dtype=pipeline.vae.dtype, use_safetensors=True, local_files_only=True
        )
    except (OSError, SafetensorError, ValueError, RuntimeError) as error:
        raise UserError(f"{folder}: cannot be loaded ({first_line(error)})") from error
    return part.to(pipeline.device).eval().requires_grad_(False)
