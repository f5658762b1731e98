"""How each reference sees the target: from a target pixel and an inverse depth to its pixel.

Pixel coordinates have the centre of the first pixel at (0.5, 0.5). All views work at the size of
the photos that they were found with; `project` takes and gives coordinates relative to a photo's
width and height, so that any other size can be sampled with them.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

SMALLEST_BASELINE = 0.01
"""Distance of two cameras over the nearest depth, under which they stand at one place."""


@dataclass(frozen=True)
class Intrinsics:
    """A pinhole camera with one radial distortion term; lengths in pixels of `size`."""

    size: tuple[int, int]
    focal: float = 1.0
    center: tuple[float, float] = (0.0, 0.0)
    radial: float = 0.0

    def rays(self, points: Tensor) -> Tensor:
        """Return `(..., 3)` rays of unit depth through `points` `(..., 2)` in [0, 1]."""
        distorted = (points * points.new_tensor(self.size) - points.new_tensor(self.center)) / (
            self.focal
        )
        plain = distorted
        for _ in range(10 if self.radial else 0):
            plain = distorted / (1 + self.radial * plain.square().sum(-1, keepdim=True))
        return torch.cat([plain, torch.ones_like(plain[..., :1])], -1)

    def project(self, points: Tensor) -> Tensor:
        """Return where `(..., 3)` points are seen, `(..., 2)`; nan behind the camera."""
        return self.project_parts(*points.unbind(-1))

    def project_parts(self, x: Tensor, y: Tensor, depth: Tensor) -> Tensor:
        """Do the same with the coordinates apart, which is twice as fast."""
        closeness = 1 / torch.where(depth > 1e-6, depth, torch.nan)
        x, y = x * closeness, y * closeness
        scale = self.focal
        if self.radial:
            scale = (x.square() + y.square()) * (self.radial * scale) + scale
        places = [
            (part * scale + center) / side
            for part, center, side in zip((x, y), self.center, self.size, strict=True)
        ]
        return torch.stack(places, -1)


@dataclass(frozen=True)
class View:
    """One reference as seen from the target: `rotation @ ray + inverse depth * translation`.

    A homography is a view as well: its matrix stands for the rotation, the translation is zero
    and both cameras have unit focal length, so that rays are pixels.
    """

    target: Intrinsics
    reference: Intrinsics
    rotation: tuple[tuple[float, ...], ...]
    translation: tuple[float, ...] = (0.0, 0.0, 0.0)

    @property
    def center(self) -> np.ndarray:
        """Return where the reference stands, from the target, `(3,)` in median depths."""
        return -np.array(self.rotation).T @ np.array(self.translation)

    @property
    def is_plane(self) -> bool:
        """Say whether this is a homography: it has no depths, and no vote on them."""
        return self.target.focal == 1.0

    def reversed(self) -> "View":
        """Return how the target is seen from the reference."""
        turn = np.array(self.rotation).T
        rows = tuple(map(tuple, turn.tolist()))
        return View(self.reference, self.target, rows, tuple(self.center.tolist()))

    def project(self, points: Tensor, inverse_depth: Tensor) -> Tensor:
        """Return where the reference sees target `points` `(..., 2)` at `inverse_depth` `(...)`."""
        return self.see(self.directions(points), inverse_depth)

    def directions(self, points: Tensor) -> Tensor:
        """Return the rays through target `points` `(..., 2)`, as the reference is turned."""
        return self.target.rays(points) @ points.new_tensor(self.rotation).T

    def see(self, directions: Tensor, inverse_depth: Tensor) -> Tensor:
        """Return where the reference sees what lies along `directions` at `inverse_depth`."""
        moved = [
            part + inverse_depth * shift
            for part, shift in zip(directions.unbind(-1), self.translation, strict=True)
        ]
        return self.reference.project_parts(*moved)

    def record(self) -> dict:
        """Return the view as JSON can hold it."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> "View":
        """Return the view that `record` was made of. Raises KeyError or TypeError if it is none."""
        cameras = {
            name: Intrinsics(**{key: as_tuple(value) for key, value in record[name].items()})
            for name in ("target", "reference")
        }
        return cls(
            **cameras,
            rotation=as_tuple(record["rotation"]),
            translation=as_tuple(record["translation"]),
        )


def as_tuple(value: Any) -> Any:
    """Return a list, and the lists in it, as tuples."""
    return tuple(map(as_tuple, value)) if isinstance(value, list) else value


def view_by_homography(
    matrix: np.ndarray, target_size: tuple[int, int], reference_size: tuple[int, int]
) -> View:
    """Return the view of a plane: `matrix` takes target pixels to reference pixels."""
    rows = tuple(tuple(row) for row in np.asarray(matrix, dtype=float).tolist())
    return View(Intrinsics(target_size), Intrinsics(reference_size), rows)


@dataclass(frozen=True)
class Cameras:
    """The views of a scene by reference name, and the largest inverse depth that was seen."""

    method: str
    views: dict[str, View]
    largest_inverse_depth: float
    points: tuple[tuple[float, float, float], ...] = ()
    """Points of the scene in the target's frame, in median depths."""
    slanting: bool = True
    """Whether planes that slant are looked for besides those that face the target."""
    is_certain: bool = False
    """Whether the matches leave no doubt of the views: what differs near the hole has moved."""

    @property
    def with_depth(self) -> dict[str, View]:
        """Return the views that tell depths, by reference: homographies do not."""
        return {name: view for name, view in self.views.items() if not view.is_plane}

    @property
    def have_parallax(self) -> bool:
        """Say whether any reference stands far enough from the target to tell depths."""
        return any(self.has_parallax(view) for view in self.views.values())

    @property
    def is_guess(self) -> bool:
        """Say whether one reference alone shows the hole, so that no other confirms its depth."""
        return len(self.views) == 1 and self.have_parallax

    def has_parallax(self, view: View) -> bool:
        """Say whether `view` stands far enough from the target to tell depths."""
        return float(np.linalg.norm(view.center)) * self.largest_inverse_depth > SMALLEST_BASELINE
