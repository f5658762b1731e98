"""Where each pixel of a completion comes from."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

KNOWN = "known"
GEOMETRY = "geometry"
INTERPOLATED = "interpolated"
SAMPLED = "sampled"
TARGET = "target"
WORDS = {
    GEOMETRY: "recovered by geometry",
    INTERPOLATED: "interpolated",
    SAMPLED: "sampled by the model",
    TARGET: "copied from the photo itself",
}
COLOURS = {
    KNOWN: (24, 26, 31),
    GEOMETRY: (60, 180, 75),
    INTERPOLATED: (128, 128, 128),
    SAMPLED: (230, 75, 190),
    TARGET: (245, 210, 60),
}
REFERENCE_COLOURS = (
    (70, 130, 240),
    (245, 130, 48),
    (70, 220, 230),
    (170, 90, 220),
    (235, 235, 235),
    (200, 60, 60),
)
"""Of the references in turn; where geometry or the target fill, `COLOURS`."""


@dataclass(frozen=True)
class Provenance:
    """The origin of each pixel."""

    names: list[str]
    """What a label stands for: one of `COLOURS`, or a reference's file name. The first is known."""
    labels: np.ndarray
    """uint8 `(H, W)`; 0 outside the hole."""

    def shares(self) -> dict[str, float]:
        """Return the share of the hole's pixels of each origin, in 0..1, the largest first."""
        counts = np.bincount(self.labels[self.labels > 0], minlength=len(self.names))
        shares = counts / max(1, counts.sum())
        present = {
            name: round(float(share), 4)
            for name, share in zip(self.names, shares, strict=True)
            if share > 0
        }
        return dict(sorted(present.items(), key=lambda each: -each[1]))

    def draw(self) -> Image.Image:
        """Return a picture with one flat colour an origin, RGB."""
        references = [name for name in self.names if name not in COLOURS]
        palette = [
            COLOURS.get(name) or REFERENCE_COLOURS[references.index(name) % len(REFERENCE_COLOURS)]
            for name in self.names
        ]
        return Image.fromarray(np.array(palette, np.uint8)[self.labels])


def trace(
    hole: np.ndarray,
    rest: np.ndarray,
    filled_by: str | list[str],
    which: np.ndarray | None = None,
) -> Provenance:
    """Return the provenance of a completion.

    Of the `hole`, geometry is sure outside the `rest`, both bool `(H, W)`. The rest is
    `filled_by` one origin, or by those that `which`, int `(H, W)`, counts from 0.
    """
    origins = [filled_by] if isinstance(filled_by, str) else filled_by
    names = [KNOWN, GEOMETRY, *dict.fromkeys(name for name in origins if name != GEOMETRY)]
    labels = np.zeros(hole.shape, np.uint8)
    labels[hole] = names.index(GEOMETRY)
    numbers = np.array([names.index(name) for name in origins], np.uint8)
    labels[rest & hole] = numbers[0 if which is None else which[rest & hole]]
    return Provenance(names, labels)


def describe(shares: dict[str, float]) -> str:
    """Say in words where the hole's pixels come from."""
    parts = [
        f"{share:.0%} {WORDS.get(name, f'copied from {name}')}"
        for name, share in shares.items()
        if share >= 0.005
    ]
    return ", ".join(parts)
