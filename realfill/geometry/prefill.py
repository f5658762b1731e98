"""Filling the hole with what the references prove of it, and saying how far to trust that.

The band of known pixels around the hole is withheld from everything but the last touch: it is
predicted like the hole, and compared. That gives, for this scene, the error to expect.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from realfill.geometry.calibration import evidence, expected_error, limit, share_right
from realfill.geometry.colour_grid import Recolouring, fit_grid, recolour
from realfill.geometry.colours import apply_tone, spread
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
    surroundings,
    to_image,
    to_tensor,
    warp,
    window_error,
)
from realfill.geometry.views import Cameras
from realfill.geometry.votes import WINDOW, pixel_grid
from realfill.scene import Scene

ROWS = 256
"""Rows that are rendered at once at the photo's own size."""
CONFIDENT = 0.4
"""Confidence from which a pixel counts as known.

Its error is 60% of interpolation's or less, and 80% of the pixels like it in the band are right.
"""
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
    return Depths(stage, *find_depth(cameras, stage))


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
    return Prefill(to_image(image), to_image(confidence), message)


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


def recolour_each(warped: Tensor, changes: list[Recolouring], points: Tensor) -> Tensor:
    """Return the warped photos `(N, 3, H, W)` in the target's colours; see `recolour`."""
    pairs = zip(warped, changes, strict=True)
    return torch.stack([recolour(photo, change, points) for photo, change in pairs])


def empty_prefill(scene: Scene, message: str) -> Prefill:
    """Return a prefill that fills nothing."""
    return Prefill(scene.target, Image.new("L", scene.target.size), message)


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
