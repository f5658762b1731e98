"""Loading a depth model: it tells from one photo what is near and what is far, in no known unit."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError
from PIL import Image
from torch import Tensor
from transformers import (
    AutoImageProcessor,
    AutoModelForDepthEstimation,
    BaseImageProcessor,
    PreTrainedModel,
    pipeline,
)

from realfill.errors import UserError
from realfill.model.hub import first_line, hub_answers

EXAMPLE = "depth-anything/Depth-Anything-V2-Small-hf"
METRIC = ("depth_pro", "glpn", "zoedepth")
"""Types of models that give a depth; the others give an inverse depth, as Depth Anything does."""
NEAREST = 1e-3
"""Depth in metres, under which none is believed."""


def load_depth_model(
    name: str, device: torch.device
) -> tuple[Callable[[Image.Image], Tensor], str]:
    """Load a depth model of transformers from a folder or the hub; its weights are safetensors.

    Returns a function from an RGB photo to its relative inverse depth, `(H, W)` on `device`, right
    up to a scale and a shift, larger where nearer; and a hash that tells models apart. Raises
    `UserError` if the model cannot be found or is none of depth.
    """
    model, processor = load(name)
    is_metric = (
        model.config.model_type in METRIC
        or getattr(model.config, "depth_estimation_type", "relative") == "metric"
    )
    estimate = pipeline("depth-estimation", model=model, image_processor=processor, device=device)

    def relative_inverse_depth(photo: Image.Image) -> Tensor:
        values = estimate(photo)["predicted_depth"].to(device)
        return 1 / values.clamp_min(NEAREST) if is_metric else values

    return relative_inverse_depth, fingerprint(model, processor)


def load(name: str) -> tuple[PreTrainedModel, BaseImageProcessor]:
    """Return the model, in single precision on the CPU, and what prepares its photos."""
    given = {"local_files_only": True, "trust_remote_code": False}
    folder = find_folder(name)
    try:
        model, found = AutoModelForDepthEstimation.from_pretrained(
            folder, use_safetensors=True, dtype=torch.float32, output_loading_info=True, **given
        )
        processor = AutoImageProcessor.from_pretrained(folder, **given)
        if lost := sorted(found["missing_keys"]):
            raise ValueError(f"{len(lost)} of its tensors are missing, such as {lost[0]}")
    except Exception as error:  # those of transformers and of what checks its configurations
        raise UserError(
            f"--depth_model {name}: cannot be loaded as a depth model ({first_line(error)}); give "
            f"one whose weights are safetensors, such as {EXAMPLE}"
        ) from error
    return model.eval(), processor


def find_folder(name: str) -> Path:
    """Return the folder `name`, or that of what the hub has of that name.

    Raises `UserError` if there is neither.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if name.count("/") != 1 or name.startswith((".", "~", "/")):
        raise UserError(
            f"--depth_model {name}: no such folder, and not the id of a model on the hub, "
            f"such as {EXAMPLE}"
        )
    offline = not hub_answers(name)
    try:
        wanted = ["*.json", "*.safetensors"]
        return Path(snapshot_download(name, allow_patterns=wanted, local_files_only=offline))
    except LocalEntryNotFoundError:
        raise UserError(
            f"--depth_model {name}: the model hub could not be reached; connect to the network, "
            "or give the folder of a local copy"
        ) from None
    except OSError:  # as of a full disk: it speaks for itself
        raise
    except Exception as error:  # the hub's HTTP library differs from version to version
        raise UserError(
            f"--depth_model {name}: could not be downloaded ({first_line(error)}); start again, or "
            "give the folder of a local copy"
        ) from None


def fingerprint(model: PreTrainedModel, processor: BaseImageProcessor) -> str:
    """Return a hash of the weights and of all settings, whatever the folder is called."""
    settings = f"{model.config.to_json_string()} {processor.to_json_string()}"
    digest = hashlib.sha256(settings.encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(tensor.cpu().numpy().tobytes())
    return digest.hexdigest()
