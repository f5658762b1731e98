"""Which references pieces are copied from, and in which set-ups they are offered."""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from realfill.exemplars.alignment import (
    aligned_panel,
    find_tone,
    find_transforms,
    scaled_panel,
)
from realfill.exemplars.panels import Panel
from realfill.exemplars.patches import describe, nearest
from realfill.geometry.features import match_with_target
from realfill.images.seams import box_around
from realfill.images.tensors import to_tensor
from realfill.provenance import GEOMETRY, TARGET
from realfill.scene import Scene

MOST_REFERENCES = 6
"""References on one canvas: with more, each would be too small to tell its detail."""
CELLS = 3
"""Squares that describe a patch, each way; see `describe`."""
RING_SIDE = 160
"""Height in pixels at which references are compared with the ring around the hole."""
RING = (5, 16)
"""Nearest and farthest distance to the hole of the ring that is compared, in those pixels."""
EXPLAINS = 0.95
"""A reference explains the ring if it is nearer to it than this times the rest of the target."""
SIZES = (
    ((5, 0.25, 1.0), (5, 0.12, 1.0)),
    ((5, 0.4, 1.0), (4, 0.25, 1.0)),
    ((6, 0.25, 0.8), (5, 0.12, 1.25)),
)
"""Pairs of patch radius, megapixels of the canvas and scale of unaligned references, in turn."""


@dataclass(frozen=True)
class Source:
    """A reference that shows the place."""

    name: str
    photo: np.ndarray
    """uint8 `(H, W, 3)`."""
    tone: np.ndarray | None
    """What brings it to the target's tone, if that could be fitted; see `find_tone`."""
    transforms: dict[str, np.ndarray]
    """From the target, `(3, 3)`, by kind; see `find_transforms`."""
    ring_distance: float
    """Of the ring around the hole to its patches, over that to the target's; see `compare_ring`."""

    def panel(self, kind: str, target_size: tuple[int, int], scale: float) -> Panel:
        """Return the panel of this reference, brought near by the transform `kind` if it has one.

        As it is, it is `scale` times as high as the target.
        """
        matrix = self.transforms.get(kind)
        if matrix is None:
            return scaled_panel(self.name, self.photo, self.tone, target_size, scale)
        return aligned_panel(self.name, self.photo, self.tone, matrix, target_size)


@dataclass(frozen=True)
class SetUp:
    """One way to offer the sources."""

    name: str
    panels: list[Panel]
    patch: int
    megapixels: float


def find_sources(scene: Scene) -> list[Source]:
    """Return the references that can be believed to show the place, the best first.

    One is believed if enough matches agree on how it lies, or if its patches explain the known
    ring around the hole better than the rest of the target does.
    """
    target, hole = np.asarray(scene.target), scene.hole
    sources = []
    references = list(scene.references.values())
    matches = match_with_target(scene.target, scene.mask, references) if references else []
    for name, reference, points in zip(scene.references, references, matches, strict=True):
        photo = np.asarray(reference)
        transforms = find_transforms(*points, scene.target.size)
        distance = compare_ring(target, hole, photo)
        if transforms or distance < EXPLAINS:
            kind = next((kind for kind in ("homography", "similarity") if kind in transforms), None)
            tone = find_tone(photo, transforms[kind], target, hole) if kind else None
            sources.append(Source(name, photo, tone, transforms, distance))
    return sorted(sources, key=lambda source: source.ring_distance)


def compare_ring(target: np.ndarray, hole: np.ndarray, photo: np.ndarray) -> float:
    """Return how much farther the ring's patches are from `photo`'s than from the target's own.

    Squared colour distances to the nearest patch, summed over the ring; infinite if there is no
    ring, and zero if there is no other part of the target to compare with.
    """
    small, described = describe_small(target)
    mask = cv2.resize(hole.astype(np.float32), small, interpolation=cv2.INTER_AREA) > 0
    outside = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5)
    ring = (outside > RING[0]) & (outside <= RING[1])
    rest = outside > RING[1] + 10
    if not ring.any():
        return float("inf")
    wanted = described[:, torch.from_numpy(ring)].T
    if rest.sum() < 100:
        return 0.0
    own = nearest(wanted, described[:, torch.from_numpy(rest)])[0].sum()
    other = nearest(wanted, describe_small(photo)[1].flatten(1))[0].sum()
    return float(other / own.clamp_min(1e-9))


def describe_small(photo: np.ndarray) -> tuple[tuple[int, int], Tensor]:
    """Return a size with a height of 160 px, and the patches of `photo` there, `(27, h, w)`."""
    size = (max(1, round(photo.shape[1] * RING_SIDE / photo.shape[0])), RING_SIDE)
    return size, describe(to_tensor(cv2.resize(photo, size, interpolation=cv2.INTER_AREA)), CELLS)


def set_ups(
    scene: Scene, sources: list[Source], doubtful: Panel | None, index: int
) -> Iterator[SetUp]:
    """Yield the set-ups that compete for completion `index`: alignments, in two sizes.

    With the index the references change, all of them or one, and the sizes. `doubtful` is a panel
    of what geometry is not sure of.
    """
    sources = sources[:MOST_REFERENCES]
    subsets = [sources] if len(sources) < 2 else [sources, *([source] for source in sources)]
    subset = subsets[index % len(subsets)]
    hole = scene.hole
    own = [Panel(TARGET, np.asarray(scene.target), np.eye(3), scene.target.size, ~hole)]
    own += [doubtful] if doubtful else []
    for patch, megapixels, scale in SIZES[(index // len(subsets) + index) % len(SIZES)]:
        for kind in ("as they are", "similarity", "homography"):
            if kind == "as they are" or any(kind in source.transforms for source in subset):
                panels = [source.panel(kind, scene.target.size, scale) for source in subset]
                yield SetUp(kind, own + panels, patch, megapixels)


def doubtful_panel(photo: np.ndarray, seen: np.ndarray) -> Panel:
    """Return a panel of what geometry shows but is not sure of: `seen`, bool `(H, W)`, of it."""
    box = box_around(seen, 0)
    corner = np.array([[1, 0, box[1].start], [0, 1, box[0].start], [0, 0, 1]], float)
    return Panel(GEOMETRY, photo, corner, seen[box].shape[::-1], seen)
