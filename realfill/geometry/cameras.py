"""Finding the views: guesses compete, and the withheld band around the hole decides."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from realfill.geometry.features import AGREE, Correspondences
from realfill.geometry.hypotheses import hypotheses
from realfill.geometry.relative import Shapes
from realfill.geometry.rendering import Stage, make_stage, predict, window_error
from realfill.geometry.views import Cameras, View
from realfill.images.blend import feather
from realfill.scene import Scene

DEPTHS_TRIED = 512
"""Depths at which a match is tried; more would not move its place by a pixel."""
MOST_VIEWS = 6
"""References that are looked at: the sweep compares each with each."""
SHRINK = 2
"""How many times smaller than the working size guesses are compared."""
GOOD = 0.25
"""Error in the band over that of interpolation, with which the search ends."""
SIMPLER = 1.05
"""How much more error planes that only face the target may have: they tear less."""
USELESS = 1.0
"""Error of one reference in the band over that of interpolation, from which it is left out."""
TYPICALLY_USELESS = 0.5
"""The same of medians, for homographies that pass for nothing by the mean."""
EXPLAINED = 0.9
"""Share of a reference's matches with which a homography is beyond doubt."""
MOSTLY_EXPLAINED = 0.75
"""The same of views with parallax; several wrong ones explained 0.36 at most."""


def find_cameras(
    scene: Scene, found: Correspondences, device: torch.device, shapes: Shapes | None = None
) -> Cameras:
    """Return the views of the references that can be tied to the target's known pixels.

    Structure from motion, homographies and essential matrices compete: each predicts the withheld
    band at half the working size, and the one with the least error wins. A reference that
    predicts the band worse than interpolation does is left out. At most six views are kept, the
    nearest. `shapes` are used if one reference alone has parallax.

    Homographies that explain nearly all matches are beyond doubt if no parallax is found, and are
    judged by medians: people who walk about near the hole spoil the mean error of right views. If
    nothing predicts the band, which may be lawn and gravel, but several cameras explain most
    matches, these are taken: `make_prefill` tells what they show rightly.
    """
    references = {name: scene.references[name] for name in found.names}
    best, least = Cameras("nothing", {}, 0.0), 1.0
    if not references:
        return best
    stage = make_stage(scene.target, scene.mask, references, device, SHRINK, shapes)
    tried = []
    for cameras in hypotheses(found, scene.target, references):
        if cameras.is_guess and len(best.views) > 1:
            break
        tried.append(nearest_views(cameras))
        cameras, error = useful_views(tried[-1], stage)
        if cameras.is_guess and len(references) > 1:
            error = (1 + error) / 2  # the band says little of a hole that no two views confirm
        if error < least:
            best, least = cameras, error
        if least < GOOD:
            break
    if not best.have_parallax:
        sure = mostly_right(tried, found, stage)
        if sure.views and best.views.keys() <= sure.views.keys():
            return sure
    if not best.views:
        best, least = explaining(tried, found, stage)
    upright = replace(best, slanting=False)
    if best.have_parallax and useful_views(upright, stage)[1] < SIMPLER * least:
        return upright
    return best


def mostly_right(tried: list[Cameras], found: Correspondences, stage: Stage) -> Cameras:
    """Return the views beyond doubt that predict most of the band well, if there are any."""
    for cameras in tried:
        if views := beyond_doubt(cameras, found):
            sure = replace(cameras, views=views, is_certain=True)
            sure, error = useful_views(sure, stage, torch.median, TYPICALLY_USELESS)
            if error < TYPICALLY_USELESS:
                return sure
    return Cameras("nothing", {}, 0.0)


def explaining(tried: list[Cameras], found: Correspondences, stage: Stage) -> tuple[Cameras, float]:
    """Return the cameras with parallax that explain most matches of two references or more.

    Those with the least error in the band, and that error, which is over 1; or none.
    """
    best, least = Cameras("nothing", {}, 0.0), np.inf
    for cameras in tried:
        views = {
            name: view
            for name, view in cameras.with_depth.items()
            if explained(cameras, found, name).mean() > MOSTLY_EXPLAINED
        }
        cameras = replace(cameras, views=views)
        if len(views) > 1 and cameras.have_parallax:
            cameras, error = useful_views(cameras, stage, useless=np.inf)
            if error < least:
                best, least = cameras, error
    return best, least


def beyond_doubt(cameras: Cameras, found: Correspondences) -> dict[str, View]:
    """Return the views that are homographies and explain nearly all matches."""
    return {
        name: view
        for name, view in cameras.views.items()
        if view.is_plane and explained(cameras, found, name).mean() > EXPLAINED
    }


def explained(cameras: Cameras, found: Correspondences, name: str) -> np.ndarray:
    """Return which matches with reference `name` its view brings together, bool `(M,)`.

    At any depth: a homography has but one.
    """
    view, number = cameras.views[name], 1 + found.names.index(name)
    tried = 1 if view.is_plane else DEPTHS_TRIED
    depths = torch.linspace(0, cameras.largest_inverse_depth, tried)
    here, there = found.places(0, number)
    points = torch.from_numpy(here / found.sizes[0]).float()[:, None]
    each = depths.expand(len(here), -1)
    seen = view.project(points.expand(-1, len(depths), -1), each).numpy() * found.sizes[number]
    away = np.linalg.norm(seen - there[:, None], axis=-1)
    return np.nan_to_num(away, nan=np.inf).min(1, initial=np.inf) < AGREE


def useful_views(
    cameras: Cameras,
    stage: Stage,
    average: Callable[[Tensor], Tensor] = torch.mean,
    useless: float = USELESS,
) -> tuple[Cameras, float]:
    """Leave out the references that predict the band badly; return the error of the others.

    The error is over that of interpolation, both the `average` of the band; what no reference
    shows counts as interpolated.
    """
    picture, each = predict(cameras, stage)
    rival = window_error(stage.continued, stage.target, stage.band)
    errors = {
        name: relative_error(image, stage, rival, average)
        for name, image in zip(cameras.views, each, strict=True)
    }
    useful = {name: view for name, view in cameras.views.items() if errors[name] < useless}
    if useful and len(useful) < len(cameras.views):
        cameras = replace(cameras, views=useful)
        picture, _ = predict(cameras, stage)
    return cameras, relative_error(picture, stage, rival, average)


def relative_error(
    picture: Tensor, stage: Stage, rival: Tensor, average: Callable[[Tensor], Tensor]
) -> float:
    """Return the error of `picture` in the band over that of interpolation, `rival`.

    The more of the hole the picture leaves open the nearer it is to 1.
    """
    seen = ~picture[0].isnan()
    tested = stage.band & seen
    if not tested.any():
        return 1.0
    error = average(window_error(picture.nan_to_num(0), stage.target, tested)[tested])
    shown = seen[stage.hole].float().mean()
    return float(shown * error / average(rival[tested]).clamp_min(1e-6) + 1 - shown)


def without_copies(
    target: Image.Image, mask: Image.Image, references: dict[str, Image.Image]
) -> dict[str, Image.Image]:
    """Return the references without copies of each other, which would confirm each other.

    Nor with the target photo itself, whose hole holds what is to go, nor its completions.
    """
    unique = {photo.tobytes(): name for name, photo in reversed(references.items())}
    known = feather(mask).point(lambda value: 0 if value else 255)
    black = Image.new("RGB", target.size)
    seen = Image.composite(target, black, known)
    return {
        name: photo
        for name, photo in references.items()
        if name in unique.values()
        and (photo.size != target.size or Image.composite(photo, black, known) != seen)
    }


def nearest_views(cameras: Cameras) -> Cameras:
    """Return the cameras with the views that are nearest to the target, in their old order."""
    distances = {name: np.linalg.norm(view.center) for name, view in cameras.views.items()}
    kept = sorted(distances, key=distances.__getitem__)[:MOST_VIEWS]
    views = {name: view for name, view in cameras.views.items() if name in kept}
    return replace(cameras, views=views)
