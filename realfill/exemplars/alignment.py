"""Bringing references near the target by their matches, if these can be believed."""

import cv2
import numpy as np
import torch

from realfill.exemplars.panels import Panel, draw
from realfill.geometry.colours import fit_tone
from realfill.images.tensors import to_tensor

FEWEST = 12
"""Matches that must agree before a similarity is believed; twice as many for a homography."""
NEAR = 0.01
"""How far matches may be off to agree, over the target's longer side."""
REACH = 0.35
"""How far a panel goes beyond the target on each side, over its sides."""
MOST_TILT = 2.5
"""Ratio of a homography's depths at two corners beyond which it is not believed."""
TONE_SIDE = 256
"""Pixels of the longer side at which tones are compared."""


def find_transforms(
    here: np.ndarray, there: np.ndarray, size: tuple[int, int]
) -> dict[str, np.ndarray]:
    """Return the believed `(3, 3)` from target to reference pixels: "similarity", "homography".

    `here` and `there` are corresponding points `(N, 2)`, x and y; `size` is the target's.
    """
    if len(here) < FEWEST:
        return {}
    near = NEAR * max(size)
    cv2.setRNGSeed(0)
    found = {}
    rows, agree = cv2.estimateAffinePartial2D(here, there, ransacReprojThreshold=2 * near)
    if rows is not None and agree.sum() >= FEWEST:
        found["similarity"] = np.vstack([rows, [0, 0, 1]])
    matrix, agree = cv2.findHomography(here, there, cv2.USAC_MAGSAC, near)
    if matrix is not None and agree.sum() >= 2 * FEWEST and is_mild(matrix, size):
        found["homography"] = matrix
    return found


def corners_of(size: tuple[int, int]) -> np.ndarray:
    """Return the corners of a photo as `(4, 3)`: x, y, 1."""
    width, height = size
    return np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]], float)


def is_mild(matrix: np.ndarray, size: tuple[int, int]) -> bool:
    """Say whether a homography neither mirrors the target nor tilts it beyond reason."""
    depths = (corners_of(size) @ matrix.T)[:, 2] / matrix[2, 2]
    mirrored = np.linalg.det(matrix) * matrix[2, 2] <= 0
    return bool(depths.min() > 0 and depths.max() < MOST_TILT * depths.min() and not mirrored)


def scaled_panel(
    name: str,
    photo: np.ndarray,
    tone: np.ndarray | None,
    target_size: tuple[int, int],
    scale: float,
) -> Panel:
    """Return the photo as it is, `scale` times as high as the target."""
    step = photo.shape[0] / (target_size[1] * scale)
    width, height = (max(1, round(side / step)) for side in photo.shape[1::-1])
    to_photo = np.diag([photo.shape[1] / width, photo.shape[0] / height, 1])
    return Panel(name, photo, to_photo, (width, height), tone=tone)


def aligned_panel(
    name: str,
    photo: np.ndarray,
    tone: np.ndarray | None,
    matrix: np.ndarray,
    target_size: tuple[int, int],
) -> Panel:
    """Return the photo as `matrix` (target to photo) brings it to the target's view.

    The panel holds what the photo shows of the target and of its surroundings.
    """
    size = np.array(target_size)
    corners = corners_of(photo.shape[1::-1]) @ np.linalg.inv(matrix).T
    first, last = -REACH * size, (1 + REACH) * size
    if (corners[:, 2] * corners[0, 2] > 0).all():  # else the horizon is in the photo
        places = corners[:, :2] / corners[:, 2:]
        first, last = np.maximum(first, places.min(0)), np.minimum(last, places.max(0))
    first = first.round()
    width, height = np.maximum(16, last - first).round().astype(int).tolist()
    shift = np.array([[1, 0, first[0]], [0, 1, first[1]], [0, 0, 1]])
    return Panel(name, photo, matrix @ shift, (width, height), tone=tone)


def find_tone(
    photo: np.ndarray, matrix: np.ndarray, target: np.ndarray, hole: np.ndarray
) -> np.ndarray:
    """Return the curve `(7, 3)` that brings `photo` to the tone of the target; see `fit_tone`.

    It is fitted where `matrix` (target to photo) says that both show the same. The photos are
    uint8 `(H, W, 3)`; `hole` is the target's, bool `(H, W)`.
    """
    scale = min(1.0, TONE_SIDE / max(hole.shape))
    warped, inside = draw(Panel("", photo, matrix, hole.shape[::-1]), scale)
    size = inside.shape[::-1]
    known = cv2.resize(hole.astype(np.float32), size, interpolation=cv2.INTER_AREA) == 0
    small = cv2.resize(target, size, interpolation=cv2.INTER_AREA)
    both = torch.from_numpy(known & inside)
    return fit_tone(to_tensor(warped), to_tensor(small), both).numpy()
