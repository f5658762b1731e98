"""What training leaves in its output folder: the LoRA file, its record, the merged pipeline."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionInpaintPipeline
from huggingface_hub import HfApi

from realfill.errors import UserError
from realfill.files import write_json
from realfill.lora import save_lora
from realfill.models import LORA_FILE, first_line, load_base, load_lora
from realfill.record import RECORD_FILE


def write_results(
    folder: Path, pipeline: StableDiffusionInpaintPipeline, record: dict[str, Any]
) -> None:
    """Write the LoRA layers of `pipeline` and their record into `folder`."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=".lora-") as temporary:
        save_lora(pipeline, Path(temporary))
        os.replace(Path(temporary) / LORA_FILE, folder / LORA_FILE)
    write_json(folder / RECORD_FILE, record)


def save_merged(folder: Path, base: str, revision: str | None) -> None:
    """Merge the LoRA file of `folder` into its base and write the whole pipeline there too."""
    pipeline = load_base(base, torch.float32, revision)
    load_lora(pipeline, folder)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".merged-") as temporary:
        pipeline.save_pretrained(temporary)
        # The index goes last: only with it the folder is a pipeline.
        parts = sorted(Path(temporary).iterdir(), key=lambda path: path.name == "model_index.json")
        for part in parts:
            if part.is_dir():
                shutil.rmtree(folder / part.name, ignore_errors=True)
            os.replace(part, folder / part.name)


def check_hub(token: str | None) -> HfApi:
    """Return the hub's interface, logged in. Raises `UserError` where that fails."""
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


def push_to_hub(api: HfApi, folder: Path, repository: str, record: dict[str, Any]) -> None:
    """Upload the LoRA file, its record and a short model card."""
    base, prompt = record["base"], record["prompt"]
    header = f"---\nbase_model: {base}\ntags: [realfill, lora, stable-diffusion-inpainting]\n---\n"
    text = f"\nRealFill LoRA of the scene {record['scene']!r} on {base}; prompt: {prompt}.\n"
    identifier = api.create_repo(repository, exist_ok=True).repo_id
    for name, content in (
        ("README.md", (header + f"# {repository}\n" + text).encode()),
        (LORA_FILE, folder / LORA_FILE),
        (RECORD_FILE, folder / RECORD_FILE),
    ):
        api.upload_file(path_or_fileobj=content, path_in_repo=name, repo_id=identifier)
