"""Filling the hole with what the references prove of it, and saying how far to trust that.

The band of known pixels around the hole is withheld from everything but the last touch: it is
predicted like the hole, and compared. That gives, for this scene, the error to expect.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from realfill.geometry.calibration import evidence, expected_error, limit, share_right
from realfill.geometry.colour_grid import Recolouring, fit_grid, recolour_each
from realfill.geometry.colours import apply_tone
from realfill.geometry.full_size import finish
from realfill.geometry.plane_sweep import even_out
from realfill.geometry.relative import Shapes
from realfill.geometry.rendering import (
    Stage,
    aligned_shape,
    correct,
    distance_to,
    find_depth,
    fit_tones,
    hole_of,
    make_stage,
    render,
    to_image,
    warp,
    window_error,
)
from realfill.geometry.views import Cameras
from realfill.scene import Scene

CONFIDENT = 0.4
"""Confidence from which a pixel counts as known.

Its error is 60% of interpolation's or less, and 80% of the pixels like it in the band are right.
"""
MOVED = 4.0
"""Over the median error in the band: from there on, views beyond doubt call it something moving."""
LOCAL_WINS = 0.9
"""Error in the band over that of tone curves alone, below which local changes are worth it."""


@dataclass(frozen=True)
class Prefill:
    """What the references say of the target.

    `image` has the target's size and equals it outside the hole; what nobody shows is continued
    smoothly. `confidence` (L) is 0 outside the hole and where no reference looks, at least 1 where
    one does, 255 where no error is expected. `message` is for a person.
    """

    image: Image.Image
    confidence: Image.Image
    message: str
    is_guess: bool = False
    """Whether one reference alone tells the depths, so that what is not sure may be far off."""


class Depths(NamedTuple):
    """The depth of what the hole and its surroundings show."""

    stage: Stage
    inverse: Tensor
    """Inverse depths `(H, W)`, 1 at the scene's median depth."""
    cost: Tensor
    """What the vote for each cost, `(H, W)` in [0, 1]: 0 if photos agree, nan if none voted."""


def find_depths(
    scene: Scene, cameras: Cameras, device: torch.device, shapes: Shapes | None = None
) -> Depths | None:
    """Compare the photos at the working size; None if no reference is tied.

    `shapes` are used if one reference alone has parallax.
    """
    if not cameras.views:
        return None
    references = {name: scene.references[name] for name in cameras.views}
    stage = make_stage(scene.target, scene.mask, references, device, shapes=shapes)
    depth, cost = find_depth(cameras, stage)
    if cameras.have_parallax:
        voters = list(cameras.with_depth.values())
        depth = even_out(depth, voters, cameras.largest_inverse_depth, stage.points)
    return Depths(stage, depth, cost)


def make_prefill(scene: Scene, cameras: Cameras, depths: Depths | None) -> Prefill:
    """Render the references at their depths and calibrate the confidence."""
    if depths is None:
        return empty_prefill(scene, "off: no reference could be tied to the photo")
    stage, depth, cost = depths
    target, hole, outside = stage.target, stage.hole, stage.outside
    warped, inside = warp(list(stage.photos.values()), cameras, depth, stage.points)
    changes = fit_colours(warped, inside, stage)
    recoloured = recolour_each(warped, changes, stage.points)
    picture, disagreement = render(recoloured, inside, cameras)
    seen = ~picture[0].isnan()
    tested = stage.band & seen
    if not tested.any():
        return empty_prefill(scene, "off: no reference shows the surroundings of the hole")
    predicted = correct(picture, target, outside)
    error = window_error(predicted, target, tested)
    if cameras.is_certain:
        tested = tested & (error <= MOVED * error[tested].median())
    rival = window_error(stage.continued, target, tested)[tested].mean()
    figures = f"error around the hole {error[tested].mean():.3f}, by interpolation {rival:.3f}"
    if error[tested].mean() >= rival:
        return empty_prefill(scene, f"off: the references predict too little ({figures})")
    clues = evidence(disagreement, cost)
    confidence = (1 - expected_error(clues, error, tested) / rival).clamp(0, 1)
    share = share_right(clues, (predicted - target).abs().mean(0), tested)
    confidence = torch.minimum(confidence, limit(share, CONFIDENT))
    if cameras.have_parallax:
        # A depth that one reference alone cannot vote for is a guess from the hole's edge.
        near = (1 - distance_to(~hole) / stage.width).clamp_min(0)
        confidence = torch.where(disagreement.isnan(), confidence * near, confidence)
    confidence = torch.where(hole & seen, confidence.clamp_min(1 / 255), 0)
    image, confidence = finish(scene, stage, cameras, changes, depth, confidence)
    share = (confidence[hole_of(scene, depth.device)] >= CONFIDENT).float().mean().item()
    used = f"{cameras.method}, {len(cameras.views)} of {len(scene.references)} references"
    if stage.shapes is not None:
        used += f", {use_of_shapes(cameras, stage)}"
    message = f"{used}, {share:.0%} of the hole is known ({figures})"
    return Prefill(to_image(image), to_image(confidence), message, cameras.is_guess)


def use_of_shapes(cameras: Cameras, stage: Stage) -> str:
    """Say whether the depth model was of use."""
    if not cameras.is_guess:
        return "no use for a depth model"
    is_used = aligned_shape(cameras, stage) is not None
    return "depth in the hole by the model" if is_used else "the depth model does not fit"


def fit_colours(warped: Tensor, inside: Tensor, stage: Stage) -> list[Recolouring]:
    """Return how the colours of each warped photo `(N, 3, H, W)` become the target's.

    By tone curves, and by local changes after them if these predict the withheld band well enough.
    """
    corners = torch.stack([stage.points[0, 0], stage.points[-1, -1]])
    plain = [Recolouring(tone, None, corners) for tone in fit_tones(warped, inside, stage)]
    local = []
    for photo, there, change in zip(warped, inside, plain, strict=True):
        common, toned = stage.outside & (there[0] > 0), apply_tone(photo, change.tone)
        grid = fit_grid(toned, stage.target, common, stage.points, corners)
        local.append(change._replace(grid=grid))
    before, after = (
        band_error(recolour_each(warped, changes, stage.points), inside, stage)
        for changes in (plain, local)
    )
    return local if after < LOCAL_WINS * before else plain


def band_error(photos: Tensor, inside: Tensor, stage: Stage) -> float:
    """Return the mean error of `(N, 3, H, W)` photos in the withheld band; nan if none is seen."""
    errors = []
    for photo, there in zip(photos, inside > 0, strict=True):
        predicted = correct(torch.where(there, photo, torch.nan), stage.target, stage.outside)
        tested = stage.band & there[0]
        errors.append(window_error(predicted, stage.target, tested)[tested].mean())
    return torch.stack(errors).nanmean().item()


def empty_prefill(scene: Scene, message: str) -> Prefill:
    """Return a prefill that fills nothing."""
    return Prefill(scene.target, Image.new("L", scene.target.size), message)
