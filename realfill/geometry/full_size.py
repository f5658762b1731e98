"""Rendering the references around the hole at the photo's own size."""

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from realfill.geometry.colour_grid import Recolouring, recolour_each
from realfill.geometry.colours import spread
from realfill.geometry.rendering import (
    Stage,
    correct,
    hole_of,
    render,
    surroundings,
    to_tensor,
    warp,
)
from realfill.geometry.views import Cameras
from realfill.geometry.votes import WINDOW, pixel_grid
from realfill.scene import Scene

ROWS = 256
"""Rows that are rendered at once at the photo's own size."""


def finish(
    scene: Scene,
    stage: Stage,
    cameras: Cameras,
    changes: list[Recolouring],
    depth: Tensor,
    sure: Tensor,
) -> tuple[Tensor, Tensor]:
    """Render around the hole at the photo's own size, the withheld band taken in as known.

    `depth` and the confidence `sure` are of the stage's pixels. Returns the picture `(3, H, W)`,
    the target outside the hole and smooth where nobody looks, and the confidence `(H, W)`.
    """
    target, hole = to_tensor(scene.target, depth.device), hole_of(scene, depth.device)
    box = surroundings(hole)
    points = pixel_grid(hole.shape, depth.device)[box]
    depth, sure = (
        enlarge(part, stage.points, points, mode)
        for part, mode in ((depth, "nearest"), (sure, "bilinear"))
    )
    references = [scene.references[name] for name in cameras.views]
    picture = render_in_strips(references, cameras, changes, depth, points)
    around, inner = target[(slice(None), *box)], hole[box]
    picture = correct(picture, around, ~inner)
    seen = inner & ~picture[0].isnan()
    filled = torch.where(seen, picture, around)
    continued = spread(filled, (seen | ~inner)[None].float())
    target[(slice(None), *box)] = torch.where(inner & ~seen, continued, filled)
    confidence = torch.zeros_like(target[0])
    confidence[box] = sure * seen
    return target, confidence


def render_in_strips(
    references: list[Image.Image],
    cameras: Cameras,
    changes: list[Recolouring],
    depth: Tensor,
    points: Tensor,
) -> Tensor:
    """Render a strip of rows after another, `(3, H, W)`: all at once, 24 megapixels take 6 GB."""
    photos = [to_tensor(reference, depth.device) for reference in references]
    strips, height = [], len(depth)
    for top in range(0, height, ROWS):
        first, last = max(0, top - WINDOW), min(height, top + ROWS + WINDOW)
        rows = slice(first, last)
        warped, inside = warp(photos, cameras, depth[rows], points[rows])
        picture, _ = render(recolour_each(warped, changes, points[rows]), inside, cameras)
        strips.append(picture[:, top - first : top - first + ROWS])
    return torch.cat(strips, 1)


def enlarge(values: Tensor, points: Tensor, wanted: Tensor, mode: str) -> Tensor:
    """Sample `values` `(h, w)`, known at the regular `points` `(h, w, 2)`, at `wanted`."""
    first, last = points[0, 0], points[-1, -1]
    pixel = (last - first) / (points.new_tensor(points.shape[1::-1]) - 1)
    places = (wanted - first + pixel / 2) / (last - first + pixel) * 2 - 1
    return F.grid_sample(
        values[None, None], places[None], mode, padding_mode="border", align_corners=False
    )[0, 0]
