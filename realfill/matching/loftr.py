"""LoFTR (Sun et al., 2021) from kornia: dense matches, also where SIFT finds no corners."""

import hashlib
import pickle
import warnings
from itertools import groupby
from pathlib import Path
from typing import Any

import kornia
import numpy as np
import torch
from huggingface_hub import HfApi, hf_hub_download, try_to_load_from_cache
from kornia.feature import LoFTR
from PIL import Image

from realfill.errors import UserError
from realfill.matching.base import Matches

REPOSITORY = "kornia/loftr"
PAIRS_AT_ONCE = 4
"""On a GPU; a pair takes about 1 GB at matching size. A CPU gains nothing from a batch."""


class Loftr:
    """LoFTR with weights for outdoor or indoor photos."""

    name = "loftr"
    default_threshold = 0.9

    def __init__(self, model_type: str, weights: Path | None, device: torch.device) -> None:
        """Load `weights`, or download those of `model_type`. Raises `UserError`."""
        path = weights or find_weights(model_type)
        self.model = load_weights(path).to(device)
        self.device = device
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        self.settings = {"matcher": "loftr", "weights": digest, "kornia": kornia.__version__}

    @torch.inference_mode()
    def extract(self, image: Image.Image) -> dict[str, Any]:
        """Return the features of an RGB image whose sides are multiples of 8."""
        grey = np.asarray(image.convert("L"), np.float32) / 255
        tensor = torch.from_numpy(grey)[None, None].to(self.device)
        if hasattr(self.model, "extract_features"):
            return {"features": self.model.extract_features(tensor), "size": image.size}
        return {"image": tensor, "size": image.size}  # before kornia 0.9

    def match(self, photo: dict[str, Any], references: list[dict[str, Any]]) -> list[Matches]:
        """Match one photo with several references; those of one size go in batches."""
        at_once = 1 if self.device.type == "cpu" else PAIRS_AT_ONCE
        matches = []
        for _, group in groupby(references, key=lambda reference: reference["size"]):
            same_size = list(group)
            for start in range(0, len(same_size), at_once):
                matches += self.match_batch(photo, same_size[start : start + at_once])
        return matches

    @torch.inference_mode()
    def match_batch(self, photo: dict[str, Any], references: list[dict[str, Any]]) -> list[Matches]:
        """Match one photo with references of one size in one go."""
        kind = "features" if "features" in photo else "image"
        sides = {"0": [photo] * len(references), "1": references}
        found = self.model({kind + side: stack([p[kind] for p in sides[side]]) for side in sides})
        # LoFTR counts from the corner of the first pixel, not from its centre.
        points, theirs = (
            found[name].float().cpu().numpy() - 0.5 for name in ("keypoints0", "keypoints1")
        )
        confidence = found["confidence"].float().cpu().numpy()
        indices = found["batch_indexes"].cpu().numpy()
        matches = Matches(points, theirs, confidence)
        return [matches.chosen(indices == index) for index in range(len(references))]


def stack(items: list[Any]) -> Any:
    """Make one batch of tensors with a batch dimension, or of dictionaries of them."""
    if isinstance(items[0], dict):
        return {name: stack([item[name] for item in items]) for name in items[0]}
    return torch.cat(items)


def find_weights(model_type: str) -> Path:
    """Return kornia's checkpoint of `model_type`, downloaded if it is not there yet.

    Raises `UserError` if it cannot be found.
    """
    name = f"loftr_{model_type}.ckpt"
    downloaded_by_kornia = Path(torch.hub.get_dir()) / "checkpoints" / name
    if downloaded_by_kornia.exists():
        return downloaded_by_kornia
    if isinstance(downloaded := try_to_load_from_cache(REPOSITORY, name), str):
        return Path(downloaded)
    try:
        # This fails at once without a network; a download tries for half a minute.
        HfApi().model_info(REPOSITORY, timeout=10)
        return Path(hf_hub_download(REPOSITORY, name))
    except Exception as error:  # the hub's HTTP library differs from version to version
        raise UserError(
            f"--matcher loftr: its weights, {REPOSITORY}/{name}, could not be had from the model "
            f"hub ({type(error).__name__}); connect to the network, give a local copy as "
            "--loftr_weights FILE, or use --matcher sift"
        ) from None


def load_weights(path: Path) -> LoFTR:
    """Return LoFTR with the checkpoint in `path`. Raises `UserError` if it holds none."""
    model = LoFTR(pretrained=None)
    try:
        with warnings.catch_warnings():  # of odd files: one line says enough
            warnings.simplefilter("ignore")
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        model.load_state_dict(checkpoint.get("state_dict", checkpoint))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; give LoFTR's checkpoint") from None
    except (OSError, RuntimeError, pickle.UnpicklingError, AttributeError, EOFError) as error:
        reason = str(error).strip().split("\n")[0][:120]
        raise UserError(
            f"{path}: not LoFTR weights ({reason}); give kornia's loftr_outdoor.ckpt or "
            "loftr_indoor.ckpt, or use --matcher sift"
        ) from None
    return model.eval()
