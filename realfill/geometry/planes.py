"""Planes as labels of the sweep: a vector n `(3,)`, so that n · ray is the inverse depth.

Parallel planes that face the target, (0, 0, inverse depth), find what stands upright before it.
What slants, as the ground or a wall along a street, is found in the directions of the planes that
the sparse points lie in (Gallup et al., 2007).
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from realfill.geometry.views import View

TRIALS = 1000
"""Triples of points that are tried for a plane."""
NEAR = 0.02
"""Depth, relative to its own, by which a point may lie off its plane."""
MOST_PLANES = 4
FEWEST_POINTS = 15
SHARE = 0.04
"""Of the points, a plane must hold as many."""
OFFSETS = 8
"""Parallel planes on either side of each."""
REACH = 0.35
"""How far these go, relative to the plane's own inverse depth."""


def find_planes(points: np.ndarray) -> np.ndarray:
    """Return the planes `(K, 3)` that hold most of `points` `(N, 3)`, one after the other.

    Each is found by trying triples of points, fixed by a seed, and then fitted to what lies in it.
    """
    points = points[points[:, 2] > 1e-3] if len(points) else points.reshape(0, 3)
    random = np.random.default_rng(0)
    fewest = max(FEWEST_POINTS, SHARE * len(points))
    planes: list[np.ndarray] = []
    while len(points) >= fewest and len(planes) < MOST_PLANES:
        triples = points[random.integers(0, len(points), (TRIALS, 3))]
        triples = triples[np.abs(np.linalg.det(triples)) > 1e-6]
        if not len(triples):
            break
        candidates = np.linalg.solve(triples, np.ones((len(triples), 3, 1)))[..., 0]
        counts = (np.abs(points @ candidates.T - 1) < NEAR).sum(0)
        plane = candidates[counts.argmax()]
        for _ in range(3):
            inside = np.abs(points @ plane - 1) < NEAR
            if inside.sum() < fewest:
                return np.array(planes).reshape(-1, 3)
            plane = np.linalg.lstsq(points[inside], np.ones(inside.sum()), rcond=None)[0]
        inside = np.abs(points @ plane - 1) < NEAR
        planes.append(plane)
        points = points[~inside]
    return np.array(planes).reshape(-1, 3)


def slants(plane: np.ndarray) -> bool:
    """Say whether a plane's inverse depth changes over the picture: others face the target."""
    return bool(np.linalg.norm(plane[:2]) > 0.1 * abs(plane[2]))


def facing_labels(inverse_depths: Tensor) -> Tensor:
    """Return the planes `(D, 3)` that face the target."""
    return F.pad(inverse_depths[:, None], (2, 0))


def slanting_labels(planes: np.ndarray, like: Tensor) -> Tensor:
    """Return the slanting ones of `planes` `(K, 3)` with parallels on either side, `(D, 3)`."""
    scales = torch.linspace(-REACH, REACH, 2 * OFFSETS + 1).exp().to(like)
    chosen = [scales[:, None] * like.new_tensor(plane) for plane in filter(slants, planes)]
    return torch.cat([like[:0], *chosen])


def between(labels: Tensor, label: Tensor, shift: Tensor) -> Tensor:
    """Return the planes `(H, W, 3)` at `label` and `shift` of `best_label`.

    Where the next label belongs to other parallels the label itself is taken.
    """
    step = torch.zeros_like(labels)
    step[1:] = labels.diff(dim=0)
    last = torch.cat([step[:1], step[:-1]])
    alike = torch.cosine_similarity(step, last, 1) > 0.99
    step = torch.where(alike[:, None], step, 0)
    return labels[label] + shift[..., None] * step[label]


def inverse_depth_of(labels: Tensor, view: View, points: Tensor) -> Tensor:
    """Return the inverse depth of planes, `(D, 3)` or one a pixel `(H, W, 3)`, at `points`.

    `(D, H, W)` or `(H, W)`; below 0 where the plane is behind the camera.
    """
    rays = view.target.rays(points)
    if labels.ndim == 3:
        return (labels * rays).sum(-1)
    return torch.einsum("dc,hwc->dhw", labels, rays)
