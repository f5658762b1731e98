"""What training leaves in its output folder: the LoRA file, its record, the merged pipeline."""

import json
import os
from dataclasses import asdict, replace
from pathlib import Path

import torch
from diffusers import StableDiffusionInpaintPipeline
from huggingface_hub import HfApi

from realfill.errors import UserError
from realfill.model.base import first_line, load_base
from realfill.model.load import load_lora, recorded_base
from realfill.model.lora import save_lora, trainable
from realfill.record import LORA_FILE, RECORD_FILE, TrainingRecord
from realfill.storage import UMASK, file_hash, replaced_together


def write_results(
    folder: Path, pipeline: StableDiffusionInpaintPipeline, record: TrainingRecord
) -> None:
    """Write the LoRA layers of `pipeline` and their record into `folder`, both or none.

    Raises `UserError` if a weight is not finite.
    """
    require_finite_weights(pipeline, record.steps)
    with replaced_together(folder) as temporary:
        save_lora(pipeline, temporary)
        os.chmod(temporary / LORA_FILE, 0o666 & ~UMASK)  # safetensors keeps it to the owner
        digest = file_hash(temporary / LORA_FILE)
        replace(record, lora_sha256=digest).write(temporary)


def require_finite_weights(pipeline: StableDiffusionInpaintPipeline, step: int) -> None:
    """Raise `UserError` if a trained weight is NaN or infinite."""
    for model in (pipeline.unet, pipeline.text_encoder):
        if not all(tensor.isfinite().all() for tensor in trainable(model).values()):
            raise UserError(
                f"the weights are no longer finite at step {step}: nothing was saved, the last "
                "checkpoint is kept; lower the learning rates"
            )


def save_merged(folder: Path, record: TrainingRecord) -> None:
    """Merge the LoRA file of `folder` into its base and write the whole pipeline there too."""
    pipeline = load_base(recorded_base(folder, record), torch.float32, record.revision)
    load_lora(pipeline, folder)
    with replaced_together(folder) as temporary:
        pipeline.save_pretrained(temporary)
        for path in temporary.rglob("*"):
            os.chmod(path, (0o777 if path.is_dir() else 0o666) & ~UMASK)


def check_hub(token: str | None) -> HfApi:
    """Return the hub's interface, logged in. Raises `UserError` if that fails."""
    api = HfApi(token=token)
    try:
        api.whoami()
    except Exception as error:  # its HTTP library differs from version to version
        raise UserError(
            "--push_to_hub: not logged in to the model hub, or it cannot be reached "
            f"({first_line(error)}); "
            "run 'hf auth login', give --hub_token, or leave the flag out"
        ) from None
    return api


def push_to_hub(api: HfApi, folder: Path, repository: str, record: TrainingRecord) -> None:
    """Upload the LoRA file, its record without local paths, and a short model card; private."""
    base, local = record.base or "an unknown base", record.base_folder
    if local:
        base = Path(base).name  # where the base lies is nobody's business
    public = replace(TrainingRecord.read(folder), base=base, base_folder=None)
    link = "" if local else f"base_model: {base}\n"
    header = f"---\n{link}tags: [realfill, lora, stable-diffusion-inpainting]\n---\n"
    text = f"\nRealFill LoRA of the scene {record.scene!r} on {base}; prompt: {record.prompt}.\n"
    identifier = api.create_repo(repository, exist_ok=True, private=True).repo_id
    for name, content in (
        ("README.md", (header + f"# {repository}\n" + text).encode()),
        (LORA_FILE, folder / LORA_FILE),
        (RECORD_FILE, json.dumps(asdict(public), indent=2).encode()),
    ):
        api.upload_file(path_or_fileobj=content, path_in_repo=name, repo_id=identifier)
