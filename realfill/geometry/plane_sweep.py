"""Depth from the target's view by a plane sweep: photos that agree at a depth vote for it.

The known part of the target votes with every reference; in the hole the references vote among
each other. The votes are smoothed by semi-global matching (Hirschmüller, 2008), coarse to fine.
"""

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from realfill.geometry.planes import (
    between,
    facing_labels,
    find_planes,
    inverse_depth_of,
    slanting_labels,
)
from realfill.geometry.views import View
from realfill.geometry.votes import WINDOW, box, pixel_grid, shrink, shrink_points, vote

NO_POINTS = np.empty((0, 3))


RARE = 2000
"""A label that one pixel in as many prefers is not looked at closely."""
GOOD_VOTE = 0.1
"""Cost of a depth, under which planes are sought through it."""
EVEN_WINDOW = 15
"""Side in pixels of the window in which depths are evened out."""


def smooth(volume: Tensor, guide: Tensor, small: float = 0.25, large: float = 4.0) -> Tensor:
    """Aggregate a cost volume `(D, H, W)` by semi-global matching along four directions.

    A step of one label costs `small`, any larger step `large`, less where `guide` `(1, H, W)` in
    [0, 1] has an edge (nan in the guide: unknown, as if there were none).
    """
    total = torch.zeros_like(volume)
    for axis in (1, 2):
        costs, light = volume.movedim(axis, 0), guide[0].movedim(axis - 1, 0)
        costs = torch.stack([costs, costs.flip(0)], 2)  # there and back at once
        light = torch.stack([light, light.flip(0)], 1)
        jumps = torch.nan_to_num(light.diff(dim=0).abs(), 0.0)
        jumps = torch.cat([torch.zeros_like(jumps[:1]), jumps])
        limits = (large * torch.exp(-jumps / 0.1)).clamp_min(1.5 * small)
        paths = torch.empty_like(costs)
        path = paths[0] = costs[0]
        for row in range(1, len(costs)):
            best = path.amin(0, keepdim=True)
            further = path + small
            stepped = torch.minimum(path, best + limits[row])
            torch.minimum(stepped[1:], further[:-1], out=stepped[1:])
            torch.minimum(stepped[:-1], further[1:], out=stepped[:-1])
            path = paths[row] = stepped.sub_(best).add_(costs[row])
        there, back = paths.unbind(2)
        total += (there + back.flip(0)).movedim(0, axis)
    return total / 4


def best_label(volume: Tensor) -> tuple[Tensor, Tensor]:
    """Return the label of the lowest cost, and where between labels it lies by a parabola.

    `(H, W)` int, and `(H, W)` float in [-0.5, 0.5].
    """
    label = volume.argmin(0)
    if len(volume) < 3:
        return label, torch.zeros_like(volume[0])
    inner = label.clamp(1, len(volume) - 2)
    left, middle, right = (volume.gather(0, (inner + i)[None])[0] for i in (-1, 0, 1))
    bend = (left + right - 2 * middle).clamp_min(1e-6)
    shift = (0.5 * (left - right) / bend).clamp(-0.5, 0.5)
    return label, torch.where(label == inner, shift, 0)


def plausible(volume: Tensor) -> Tensor:
    """Return the labels `(K,)`, in order, that are somewhere the best of `volume` `(D, H, W)`.

    And their neighbours, as `between` needs them; what one pixel in `RARE` prefers is left out.
    """
    chosen = volume.argmin(0).flatten().bincount(minlength=len(volume)).float()
    common = (chosen > chosen.sum() / RARE).float()
    return F.max_pool1d(common[None, None], 5, 1, 2)[0, 0].nonzero()[:, 0]


def sure_points(
    volume: Tensor, guide: Tensor, labels: Tensor, view: View, points: Tensor
) -> np.ndarray:
    """Return the points `(N, 3)` whose depth has a good vote, every third of them."""
    label, shift = best_label(smooth(torch.nan_to_num(volume, 0.5), guide))
    cost = volume.gather(0, label[None])[0]
    inverse_depth = inverse_depth_of(between(labels, label, shift), view, points)
    sure = (cost < GOOD_VOTE) & (inverse_depth > 0)
    return (view.target.rays(points)[sure] / inverse_depth[sure][:, None])[::3].cpu().numpy()


def sweep(
    target: Tensor,
    known: Tensor,
    photos: list[Tensor],
    views: list[View],
    largest: float,
    points: Tensor | None = None,
    scene_points: np.ndarray | None = NO_POINTS,
) -> tuple[Tensor, Tensor]:
    """Return the inverse depth `(H, W)` of each target pixel and what its vote cost, nan for none.

    Photos are RGB or grey `(C, H, W)` in [0, 1]. The costs of half the size are compared in fine
    and, at a quarter of the size, in wide windows: fine ones place edges, wide ones tell apart
    what repeats. `points` `(H, W, 2)` says where the pixels are if `target` is a part of a photo.
    Besides planes that face the target those are tried that `scene_points` `(N, 3)` and the
    depths of a first sweep lie in; with None no others are.
    """
    _, height, width = target.shape
    points = pixel_grid((height, width), target.device) if points is None else points
    inverse_depths = torch.linspace(0, largest, count_labels(views, largest, points))
    facing = facing_labels(inverse_depths.to(target.device))

    def costs(factor: int, labels: Tensor) -> Tensor:
        photos_there = [shrink(photo, factor) for photo in photos]
        seen = (shrink(known, factor) > 0.999).float()
        places = shrink_points(points, factor)
        return vote(shrink(target, factor), seen, photos_there, views, labels, places, largest)

    def guide(factor: int) -> Tensor:
        return torch.where(shrink(known, factor) > 0.999, shrink(target, factor), torch.nan)

    wide = costs(4, facing)
    labels = facing
    if scene_points is not None:
        dense = sure_points(wide, guide(4), facing, views[0], shrink_points(points, 4))
        slanting = slanting_labels(find_planes(np.concatenate([scene_points, dense])), facing)
        labels = torch.cat([facing, slanting])
        if len(slanting):
            wide = torch.cat([wide, costs(4, slanting)])
    kept = plausible(smooth(torch.nan_to_num(wide, 0.5), guide(4)))
    labels, wide = labels[kept], wide[kept]
    fine = costs(2, labels)
    wide = F.interpolate(wide[None], size=fine.shape[1:], mode="nearest")[0]
    volume = torch.where(wide.isnan(), fine, fine + wide) / (2 - wide.isnan().float())
    label, shift = best_label(smooth(torch.nan_to_num(volume, 0.5), guide(2)))
    cost = volume.gather(0, label[None])[0]
    planes = between(labels, label, shift).permute(2, 0, 1)
    both = torch.cat([planes, cost[None]])[None]
    both = F.interpolate(both, size=(height, width), mode="nearest-exact")[0]
    inverse_depth = inverse_depth_of(both[:3].permute(1, 2, 0), views[0], points).clamp_min(0)
    step = largest / (len(inverse_depths) - 1)
    return refine(target, known, photos, views, inverse_depth, step, points, largest), both[3]


def refine(
    target: Tensor,
    known: Tensor,
    photos: list[Tensor],
    views: list[View],
    inverse_depth: Tensor,
    step: float,
    points: Tensor,
    largest: float,
) -> Tensor:
    """Return `inverse_depth` `(H, W)` moved by up to a `step` to where the photos agree best."""
    shifts = torch.linspace(-1, 1, 5, device=target.device) * step
    candidates = (inverse_depth + shifts.view(-1, 1, 1)).clamp_min(0)
    grey = [shrink(photo, 1) for photo in photos]
    volume = vote(
        shrink(target, 1), (known > 0.999).float(), grey, views, candidates, points, largest
    )
    volume = box(torch.nan_to_num(volume, 0.5)[:, None], 2 * WINDOW + 1)[:, 0]
    label, shift = best_label(volume)
    moved = (inverse_depth + (label + shift - 2) * step / 2).clamp_min(0)
    return torch.where(volume.std(0) > 1e-4, moved, inverse_depth)


def even_out(inverse_depth: Tensor, views: list[View], largest: float, points: Tensor) -> Tensor:
    """Return `inverse_depth` `(H, W)` of a `sweep` without steps as small as between two labels.

    What slants comes out as stairs of labels, which cut a fine texture into strips. The edges of
    things are higher than a few labels, and stay.
    """
    step = largest / (count_labels(views, largest, points) - 1)
    depths = inverse_depth.cpu().numpy()
    for _ in range(2):
        depths = cv2.bilateralFilter(depths, EVEN_WINDOW, step, EVEN_WINDOW / 4)
    return torch.from_numpy(depths).to(inverse_depth.device)


def count_labels(views: list[View], largest: float, points: Tensor) -> int:
    """Return how many depths leave no step of over a pixel at half the size, within 32 and 128.

    The pixels are at `points` `(H, W, 2)`.
    """
    long_side = 1 / (points[0, 1, 0] - points[0, 0, 0]).item()
    corners = pixel_grid((8, 8))
    near, far = (torch.full(corners.shape[:2], depth) for depth in (largest, 0.0))
    moved = [view.project(corners, near) - view.project(corners, far) for view in views]
    widest = max(torch.nan_to_num(shift.norm(dim=-1)).median().item() for shift in moved)
    return int(min(max(widest * long_side / 2, 32), 128))
