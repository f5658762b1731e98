"""What geometry can tell a training run: what the hole holds, and where the references show it."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from realfill.geometry.findings import Findings, look
from realfill.geometry.prefill import Depths
from realfill.geometry.rendering import to_image
from realfill.geometry.views import View
from realfill.scene import Scene

CELLS = 128
"""Cells of a reference's longer side in which pixels of the hole are counted: few enough that a
hole seen from nearer by leaves no gaps."""


@dataclass(frozen=True)
class Hints:
    """What the references show of the hole."""

    image: Image.Image
    """The target with its hole filled."""
    confidence: Image.Image
    """How far that is believed, of the target's size: L, 0 outside the hole."""
    regions: dict[str, Image.Image]
    """By reference what it shows of the hole, of its size: L, 255 there and 0 elsewhere."""


def find_hints(scene: Scene, device: torch.device) -> Hints:
    """Look for the target's hole in the references, which takes half a minute at most."""
    return make_hints(scene, look(scene, device))


def make_hints(scene: Scene, findings: Findings) -> Hints:
    """Return what was found as training takes it."""
    prefill, regions = findings.prefill, {}
    if findings.depths is not None:
        regions = {
            name: region_of(view, findings.depths, scene.references[name].size)
            for name, view in findings.cameras.views.items()
        }
    return Hints(prefill.image, prefill.confidence, regions)


def region_of(view: View, depths: Depths, size: tuple[int, int]) -> Image.Image:
    """Return where the reference of `size` shows the hole: L, 255 there and 0 elsewhere."""
    cells = [max(1, round(CELLS * side / max(size))) for side in size]
    places = view.project(depths.stage.points, depths.inverse)[depths.stage.hole]
    places = places[((places >= 0) & (places < 1)).all(-1)]
    columns, rows = (places * places.new_tensor(cells)).long().T
    found = torch.zeros(cells[::-1], device=places.device)
    found[rows, columns] = 1.0
    return to_image(close_gaps(found)).resize(size, Image.Resampling.NEAREST)


def close_gaps(found: Tensor) -> Tensor:
    """Return the cells `(H, W)` of 0 and 1 with single gaps filled."""
    grown = F.max_pool2d(found[None], 3, 1, 1)
    return -F.max_pool2d(-grown, 3, 1, 1)[0]
