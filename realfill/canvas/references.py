"""Which references come onto the canvas, and how they lie to the photo."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from realfill.errors import UserError
from realfill.exemplars.alignment import find_transforms
from realfill.geometry.features import match_with_target
from realfill.scene import Scene


@dataclass(frozen=True)
class Tied:
    """A reference, and where it shows what the photo shows."""

    name: str
    photo: Image.Image
    matches: int
    """With the known region of the photo."""
    transform: np.ndarray | None
    """From the photo's pixels to the reference's, `(3, 3)`; None if none is believed."""


def choose_references(scene: Scene, count: int) -> list[Tied]:
    """Return the `count` references with most matches with the known region, the best first.

    Nothing in the hole is looked at. Raises `UserError` if there are no references.
    """
    names, photos = list(scene.references), list(scene.references.values())
    if not photos:
        raise UserError(f"{scene.name}: --fill canvas needs references: give --scene")
    tied = []
    matches = match_with_target(scene.target, scene.mask, photos)
    for name, photo, (here, there) in zip(names, photos, matches, strict=True):
        believed = find_transforms(here, there, scene.target.size)
        transform = believed.get("homography", believed.get("similarity"))
        tied.append(Tied(name, photo, len(here), transform))
    return sorted(tied, key=lambda each: (-each.matches, each.name))[:count]
