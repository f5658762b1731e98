"""Poses of new views, and the token that tells the base of one (LeftRefill, arXiv 2305.11577).

A pose is how the camera of the new view lies to that of the reference, in four numbers as there:
the elevation in radians, the sine and the cosine of the azimuth, and how far it goes forward.
LeftRefill's cameras all look at one object, and its angles say where they stand around it. Ours
are anywhere; here the angles say how a camera is turned, which is the same on a circle around an
object and holds for one that only turns. A step to the side, or a roll, is not told.
"""

from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from realfill.errors import UserError
from realfill.geometry.views import View
from realfill.storage import write_tensors

Pose = tuple[float, float, float, float]
POSE_FILE = "pose_encoder.safetensors"
"""Beside the file of the tokens."""
WIDTH = 512


class PoseEncoder(nn.Sequential):
    """Two layers from poses `(N, 4)` to tokens `(N, channels)` at the text encoder's input."""

    def __init__(self, first: Tensor) -> None:
        """Give every pose the token `first`, `(channels,)`, before it is trained."""
        last = nn.Linear(WIDTH, len(first))
        super().__init__(nn.Linear(4, WIDTH), nn.SiLU(), last)
        with torch.no_grad():
            last.weight.zero_()
            last.bias.copy_(first)
        self.poses = torch.zeros(0, 4)
        """Of the prompts that the text encoder is about to embed."""


def write_pose_encoder(path: Path, encoder: PoseEncoder) -> None:
    """Write the layers of `encoder` to `path`."""
    write_tensors(path, {name: value.cpu().float() for name, value in encoder.state_dict().items()})


def read_pose_encoder(tokens: Path) -> PoseEncoder:
    """Return the encoder that was learned with the file `tokens`. Raises `UserError`."""
    path = tokens.parent / POSE_FILE
    try:
        content = load_file(path)
        encoder = PoseEncoder(content["2.bias"])
        encoder.load_state_dict(content)
    except (OSError, SafetensorError, RuntimeError, LookupError, TypeError) as error:
        said = str(error).splitlines()[0]
        raise UserError(
            f"{path}: missing or damaged ({said}); give tokens that train_task_tokens.py "
            "--task view left"
        ) from None
    if not all(value.isfinite().all() for value in content.values()):
        raise UserError(f"{path}: holds numbers that are not finite; train again")
    return encoder


def pose(azimuth: float, elevation: float, forward: float = 0.0) -> Pose:
    """Return a pose by its angles in radians, to the right and up, and its way forward."""
    return elevation, float(np.sin(azimuth)), float(np.cos(azimuth)), forward


def rotation(azimuth: float, elevation: float) -> np.ndarray:
    """Return the matrix `(3, 3)` from the frame of a camera to that of one turned by the angles.

    In a frame, x points to the right, y down and z forward.
    """
    forward = np.array(
        [
            np.sin(azimuth) * np.cos(elevation),
            -np.sin(elevation),
            np.cos(azimuth) * np.cos(elevation),
        ]
    )
    right = np.array([np.cos(azimuth), 0.0, -np.sin(azimuth)])
    return np.stack([right, np.cross(forward, right), forward])


def pose_between(first: View, second: View | None = None) -> Pose:
    """Return the pose of the reference `second`, or of the target, as seen from `first`.

    Both are views of one target, with depths; the unit of length is its median depth.
    """
    here = np.array(first.rotation)
    there = np.eye(3) if second is None else np.array(second.rotation)
    place = np.zeros(3) if second is None else second.center
    forward = (there @ here.T)[2]  # the second camera's axis in the first one's frame
    azimuth = np.arctan2(forward[0], forward[2])
    elevation = -np.arcsin(np.clip(forward[1], -1, 1))
    return pose(float(azimuth), float(elevation), float((here @ (place - first.center))[2]))
