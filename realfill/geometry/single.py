"""Depth in the hole from one reference: it shows what is there, though nobody confirms how far.

Depths are known where the reference sees what the target knows. They are continued over the
reference's picture, whose edges say where one thing ends, and carried back to the target.
"""

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from realfill.geometry.plane_sweep import best_label, smooth
from realfill.geometry.planes import (
    between,
    facing_labels,
    find_planes,
    inverse_depth_of,
    slanting_labels,
)
from realfill.geometry.views import View
from realfill.geometry.votes import CHUNK, Patches, pixel_grid, sample, shrink

LABELS = 64
FACTOR = 2
"""How many times smaller than the photos the depths are."""
HIDDEN = 0.2
"""Cost of a depth at which a pixel would lie in the hole: less than that of a chance match."""
REACH, EDGE = 150.0, 0.2
"""Pixels over which depths are continued, and the difference in light that counts as that far."""
SURE = 0.15
"""Cost of a depth in the reference, under which it is known."""


def depth_by_one(
    target: Tensor,
    known: Tensor,
    points: Tensor,
    photo: Tensor,
    view: View,
    scene_points: np.ndarray,
) -> Tensor:
    """Return the target's inverse depth `(H, W)` as `photo` `(3, h, w)` has it; nan for none.

    `target` `(3, H, W)` is looked at where `known`, bool `(H, W)`; `points` `(H, W, 2)` say where
    its pixels are in the whole photo, `scene_points` `(N, 3)` lie in its frame.
    """
    back = view.reversed()
    turned = scene_points @ np.array(view.rotation).T + np.array(view.translation)
    turned = turned[turned[:, 2] > 1e-3]
    largest = 1.3 / float(np.quantile(turned[:, 2], 0.01))
    facing = facing_labels(torch.linspace(0, largest, LABELS, device=photo.device))
    labels = torch.cat([facing, slanting_labels(find_planes(turned), facing)])
    light = shrink(photo, FACTOR)
    places = pixel_grid(light.shape[1:], photo.device)
    volume = votes(light, places, back, labels, shrink(target, FACTOR), known, points)
    label, shift = best_label(smooth(torch.nan_to_num(volume, HIDDEN), light))
    inverse_depth = inverse_depth_of(between(labels, label, shift), back, places).clamp_min(0)
    sure = volume.gather(0, label[None])[0] < SURE
    if sure.any():
        inverse_depth = continue_to_edges(inverse_depth, sure.float(), light[0])
    return carry(inverse_depth, back, points)


def votes(
    light: Tensor,
    places: Tensor,
    back: View,
    labels: Tensor,
    target: Tensor,
    known: Tensor,
    points: Tensor,
) -> Tensor:
    """Return the cost `(D, h, w)` of each plane at each pixel of the reference, nan for no vote."""
    seen = F.interpolate(known[None, None].float(), target.shape[1:], mode="area")[0]
    both = torch.cat([target, (seen > 0.999).float()])
    first, last = points[0, 0], points[-1, -1]
    here = Patches.of(light[None], torch.ones_like(light[None]))
    rays = back.directions(places)
    volume = []
    for chunk in labels.split(CHUNK):
        depths = inverse_depth_of(chunk, back, places)
        sampled, inside = sample(both, (back.see(rays, depths) - first) / (last - first))
        valid = inside * (sampled[:, 1:] > 0.999) * (depths[:, None] >= 0)
        volume.append(here.dissimilarity(Patches.of(sampled[:, :1], valid.float()))[:, 0])
    return torch.cat(volume)


def continue_to_edges(values: Tensor, weights: Tensor, light: Tensor) -> Tensor:
    """Continue `values` `(H, W)` from where `weights` are, across what is of one `light`.

    The recursive filter of the domain transform (Gastal and Oliveira, 2011), normalised.
    """
    both = torch.stack([values * weights, weights])
    for turn in range(3):
        spread = REACH * 3**0.5 * 2 ** (2 - turn) / (4**3 - 1) ** 0.5
        for axis in (2, 1):
            lines, guide = both.movedim(axis, 0), light.movedim(axis - 1, 0)
            steps = 1 + REACH / EDGE * guide.diff(dim=0).abs()
            keep = torch.exp(-(2**0.5) * steps / spread)
            lines = lines.clone()
            for row in range(1, len(lines)):
                lines[row] += keep[row - 1] * (lines[row - 1] - lines[row])
            for row in range(len(lines) - 2, -1, -1):
                lines[row] += keep[row] * (lines[row + 1] - lines[row])
            both = lines.movedim(0, axis)
    continued = both[0] / both[1].clamp_min(1e-12)
    return torch.where(weights > 0, values, continued)


def carry(inverse_depth: Tensor, back: View, points: Tensor) -> Tensor:
    """Bring the reference's inverse depths `(h, w)` to the target's pixels at `points`.

    What is nearest hides the rest; gaps take the farther of their neighbours.
    """
    height, width = (max(1, side // FACTOR) for side in points.shape[:2])
    fine = F.interpolate(inverse_depth[None, None], scale_factor=FACTOR, mode="nearest")[0, 0]
    rays = back.directions(pixel_grid(fine.shape, fine.device))
    moved = rays + fine[..., None] * rays.new_tensor(back.translation)
    seen = back.reference.project(moved)
    first, last = points[0, 0], points[-1, -1]
    cells = (seen - first) / (last - first)
    there = fine / moved[..., 2].clamp_min(1e-6)
    inside = ((cells >= 0) & (cells < 1)).all(-1) & (moved[..., 2] > 1e-6)
    columns, rows = (
        (cells[..., axis] * side)[inside].long() for axis, side in ((0, width), (1, height))
    )
    flat = torch.full((height * width,), -1.0, device=fine.device)
    flat.scatter_reduce_(0, rows * width + columns, there[inside], "amax")
    grid = flat.view(1, 1, height, width)
    for _ in range(max(height, width)):
        empty = grid < 0
        if not empty.any() or empty.all():
            break
        lowest = -F.max_pool2d(torch.where(empty, -torch.inf, -grid), 3, 1, 1)
        grid = torch.where(empty & lowest.isfinite(), lowest, grid)
    if (grid < 0).all():
        return torch.full(points.shape[:2], torch.nan, device=fine.device)
    # The far shows through the cracks of what is stretched: take the median.
    closed = cv2.medianBlur(cv2.medianBlur(grid[0, 0].cpu().numpy(), 5), 5)
    grid = torch.from_numpy(closed).to(fine.device)[None, None]
    return F.interpolate(grid, size=points.shape[:2], mode="nearest-exact")[0, 0]
