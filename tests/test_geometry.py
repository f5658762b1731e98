"""What the references prove: a rendered scene with known depths, and scenes that prove nothing."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from realfill.completing.fillers import doubtful_part
from realfill.completing.job import Rest
from realfill.geometry.calibration import WANTED, limit, share_right
from realfill.geometry.cameras import SHRINK, explaining, find_cameras, without_copies
from realfill.geometry.colours import apply_tone, fit_tone, spread
from realfill.geometry.features import find_correspondences
from realfill.geometry.guide import cached_prefill, guide
from realfill.geometry.plane_sweep import count_labels, even_out, sweep
from realfill.geometry.prefill import CONFIDENT, Prefill, find_depths, make_prefill
from realfill.geometry.rendering import make_stage
from realfill.geometry.views import Cameras, Intrinsics, View
from realfill.geometry.votes import pixel_grid
from realfill.scene import Scene, load_scene, load_truth
from tests.conftest import ROOT, RunScript
from tests.helpers import draw_texture
from tests.rendered import (
    FOCAL,
    SIZE,
    foreign_photo,
    hole_of,
    photograph,
    psnr_of,
    rays,
    to_image,
    variant,
)

CPU = torch.device("cpu")

STREET = (
    ((0.0, 1.0, 0.0), 1.0, 1),  # the ground, a wall on either side, and one ahead
    ((1.0, 0.0, 0.0), 1.5, 2),
    ((-1.0, 0.0, 0.0), 1.8, 3),
    ((0.0, 0.0, 1.0), 9.0, 4),
)


def photograph_street(position: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Render planes (normal · point = distance) that slant: photo in [0, 1], and depth."""
    _, directions = rays(0.0)
    photo, depth = np.zeros((*SIZE[::-1], 3)), np.full(SIZE[::-1], np.inf)
    for normal, offset, seed in STREET:
        slope = (directions @ normal).clip(1e-6)
        distance = (offset - np.dot(position, normal)) / slope
        place = np.array(position) + distance[..., None] * directions
        axes = [axis for axis in range(3) if not normal[axis]]
        u, v = (150 * np.abs(place[..., axis] + 1.9) for axis in axes)
        grid = ((u % 1199).astype(np.float32), (v % 899).astype(np.float32))
        colour = cv2.remap(draw_texture(seed), *grid, cv2.INTER_LINEAR)
        nearer = distance < depth
        photo[nearer], depth[nearer] = colour[nearer], distance[nearer]
    return photo, depth


@pytest.fixture(scope="module")
def street() -> tuple[Scene, Image.Image, np.ndarray]:
    """Return a scene of a camera that walks straight ahead, the truth, and the depth."""
    truth, depth = photograph_street((0.0, 0.0, 0.0))
    mask = Image.new("L", SIZE)
    mask.paste(255, (200, 150, 310, 260))
    places = {"behind": (0.05, 0.0, -0.7), "ahead": (-0.05, 0.02, 0.4), "far": (0.1, -0.05, -1.2)}
    references = {name: to_image(photograph_street(place)[0]) for name, place in places.items()}
    target = Image.composite(Image.new("RGB", SIZE), to_image(truth), mask)
    return Scene("street", references, target, mask), to_image(truth), depth


def cameras_of(scene: Scene) -> Cameras:
    references = without_copies(scene.target, scene.mask, scene.references)
    return find_cameras(scene, find_correspondences(scene.target, scene.mask, references), CPU)


def prefill_of(scene: Scene, cameras: Cameras) -> Prefill:
    return make_prefill(scene, cameras, find_depths(scene, cameras, CPU))


def test_the_sweep_finds_the_depth_of_rendered_planes(rendered) -> None:
    scene, cameras, _, depth = rendered
    grey = [
        torch.from_numpy(np.array(photo.convert("L")))[None].float() / 255
        for photo in (scene.target, *scene.references.values())
    ]
    known = torch.from_numpy(~hole_of(scene))[None].float()
    found, _ = sweep(grey[0], known, grey[1:], list(cameras.views.values()), 0.5)
    relative = np.abs(1 / found.numpy() - depth) / depth
    assert np.quantile(relative[hole_of(scene)], 0.95) < 0.02


def test_the_prefill_is_true_and_its_confidence_ranks_its_errors(rendered) -> None:
    scene, cameras, truth, _ = rendered
    prefill = prefill_of(scene, cameras)
    hole = hole_of(scene)
    errors = (np.asarray(prefill.image) - np.asarray(truth).astype(float))[hole] / 255
    confidence = np.asarray(prefill.confidence)[hole]
    sure = confidence >= 102
    assert sure.mean() > 0.9
    assert -10 * np.log10(np.square(errors[sure]).mean()) > 30
    wrong = np.abs(errors).mean(1) > 0.05
    assert 10 < wrong.sum() < len(wrong) / 5
    ranks = confidence.argsort(kind="stable").argsort()
    spread_of_ranks = ranks[~wrong].mean() - ranks[wrong].mean()
    assert 0.5 + spread_of_ranks / len(ranks) > 0.8, "area under the ROC curve"
    outside = np.asarray(prefill.image)[~hole] == np.asarray(scene.target)[~hole]
    assert outside.all()


def test_the_share_of_right_pixels_is_learned_from_where_the_truth_is_known() -> None:
    random = np.random.default_rng(0)
    clues = torch.from_numpy(random.normal(size=(2, 200, 200))).float() * 0.1 + 0.3
    truth = torch.sigmoid((0.3 - clues[0]) * 20 + 1)  # the second clue says nothing
    error = torch.where(torch.from_numpy(random.uniform(size=truth.shape)) < truth, 0.05, 0.2)
    band = torch.zeros(truth.shape, dtype=torch.bool)
    band[:100] = True
    share = share_right(clues, error, band)
    assert (share - truth).abs().mean() < 0.03
    called_right = error[100:][share[100:] > WANTED] < 0.1
    assert called_right.numel() > 100 and called_right.float().mean() > WANTED


def test_confidence_is_bounded_by_the_share_of_right_pixels() -> None:
    bounds = limit(torch.tensor([1.0, WANTED, 0.0]), CONFIDENT)
    assert torch.allclose(bounds, torch.tensor([1.0, CONFIDENT, 0.0]))


@pytest.mark.parametrize("is_guess", [True, False])
def test_a_guess_that_geometry_doubts_whole_is_no_exemplar(rendered, is_guess: bool) -> None:
    scene, *_ = rendered
    hole = np.asarray(scene.mask)
    least = round(255 * CONFIDENT)
    for left_half, is_offered in ((least - 1, not is_guess), (least, True)):
        values = np.where(hole > 127, least - 1, 0).astype(np.uint8)
        values[:, : SIZE[0] // 2][hole[:, : SIZE[0] // 2] > 127] = left_half
        prefill = Prefill(scene.references["left"], Image.fromarray(values), "", is_guess)
        rest = Rest(*guide(scene, prefill), prefill)
        assert (doubtful_part(rest) is not None) == is_offered


def test_structure_from_motion_finds_the_cameras(rendered) -> None:
    scene, known, truth, _ = rendered
    cameras = cameras_of(scene)
    assert cameras.method.startswith("structure from motion")
    assert list(cameras.views) == list(known.views)
    for name, view in cameras.views.items():
        expected, found = known.views[name].center, view.center
        cosine = expected @ found / np.linalg.norm(expected) / np.linalg.norm(found)
        assert cosine > 0.99, name
    prefill = prefill_of(scene, cameras)
    error = (np.asarray(prefill.image) - np.asarray(truth).astype(float))[hole_of(scene)] / 255
    assert -10 * np.log10(np.square(error).mean()) > 26


@pytest.mark.slow
def test_walking_straight_ahead_gives_cameras_and_the_same_ones_twice(street) -> None:
    scene, truth, _ = street
    cameras = cameras_of(scene)
    assert cameras == cameras_of(scene)
    assert len(cameras.views) >= 2 and cameras.have_parallax
    assert psnr_of(prefill_of(scene, cameras), truth, hole_of(scene)) > 20


def test_ground_and_walls_that_slant_have_no_steps(street) -> None:
    scene, _, depth = street
    pinhole = Intrinsics(SIZE, FOCAL, (SIZE[0] / 2, SIZE[1] / 2))
    places = {"behind": (0.05, 0.0, -0.7), "ahead": (-0.05, 0.02, 0.4), "far": (0.1, -0.05, -1.2)}
    upright = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    views = [View(pinhole, pinhole, upright, tuple(-x for x in place)) for place in places.values()]
    photos = [
        torch.from_numpy(np.array(photo)).permute(2, 0, 1).float() / 255
        for photo in (scene.target, *scene.references.values())
    ]
    known = torch.from_numpy(~hole_of(scene))[None].float()
    found, _ = sweep(photos[0], known, photos[1:], views, 1.3 / depth.min())
    relative = np.abs(1 / found.numpy().clip(1e-3) - depth) / depth
    assert np.quantile(relative[hole_of(scene)], 0.8) < 0.05


def test_stairs_of_labels_are_evened_out_and_edges_stay(rendered) -> None:
    _, cameras, _, _ = rendered
    views, points = list(cameras.views.values()), pixel_grid((120, 160))
    step = 1 / (count_labels(views, 1.0, points) - 1)
    ramp = 0.3 + torch.arange(120)[:, None].expand(-1, 160) * step / 10
    truth = torch.where(torch.arange(160) < 80, ramp, ramp + 12 * step)
    stairs = (truth / step).round() * step
    found = even_out(stairs, views, 1.0, points)
    inner = slice(10, -10)
    before, after = ((depth - truth)[inner].abs().max() / step for depth in (stairs, found))
    assert before > 0.49 and after < 0.15


def test_another_weather_and_a_mover_in_one_reference_are_outvoted(rendered) -> None:
    scene, cameras, truth, _ = rendered
    names = list(scene.references)
    dusk = np.asarray(scene.references[names[0]]) / 255.0
    dusk = (0.55 * dusk**1.3 + np.array([0.1, 0.05, 0.0])).clip(0, 1)
    moved = scene.references[names[1]].copy()
    moved.paste((250, 20, 20), (150, 100, 210, 170))
    references = scene.references | {names[0]: to_image(dusk), names[1]: moved}
    prefill = prefill_of(variant(scene, **references), cameras)
    assert psnr_of(prefill, truth, hole_of(scene)) > 26


def test_cameras_that_explain_the_matches_are_taken_if_the_band_tells_nothing(rendered) -> None:
    scene, cameras, _, _ = rendered
    found = find_correspondences(scene.target, scene.mask, scene.references)
    stage = make_stage(scene.target, scene.mask, scene.references, CPU, SHRINK)
    elsewhere = {
        name: replace(view, translation=view.translation[::-1])
        for name, view in cameras.views.items()
    }
    wrong = replace(cameras, views=elsewhere)
    assert explaining([wrong, cameras], found, stage)[0].views == cameras.views
    assert not explaining([wrong], found, stage)[0].views


def test_photos_of_another_place_are_refused(rendered, tmp_path: Path) -> None:
    scene = rendered[0]
    alone = variant(scene, foreign=foreign_photo(), other=to_image(draw_texture(8)[:288, :384]))
    prefill = cached_prefill(alone, tmp_path, CPU)
    assert prefill.message.startswith("off: ")
    assert guide(alone, prefill) == (alone, 1.0)
    mixed = variant(scene, foreign=foreign_photo(), **scene.references)
    cameras = cameras_of(mixed)
    assert list(cameras.views) == list(scene.references)


def turned(angle: float) -> Image.Image:
    return to_image(photograph(angle, (0.0, 0.0, 0.0))[0])


def test_copies_and_the_photo_itself_prove_nothing(rendered) -> None:
    scene, _, truth, _ = rendered
    left = scene.references["left"]
    itself = variant(scene, photo=scene.target, another=truth, left=left, copy=left.copy())
    cameras = cameras_of(itself)
    assert list(cameras.views) in ([], ["left"])


@pytest.mark.parametrize("case", ["two", "flat references", "flat target", "rotation"])
def test_awkward_references_do_no_harm(rendered, case: str) -> None:
    scene, _, truth, _ = rendered
    left, right = scene.references["left"], scene.references["right"]
    flat = Image.new("RGB", SIZE, (90, 120, 150))
    given = {
        "two": variant(scene, a=left, b=right),
        "flat references": variant(scene, a=flat, b=flat.resize((200, 150))),
        "flat target": Scene("flat", {"a": right, "b": left}, flat, scene.mask),
        "rotation": variant(scene, a=turned(0.1), b=turned(-0.1)),
    }[case]
    cameras = cameras_of(given)
    prefill = prefill_of(given, cameras)
    guided, strength = guide(given, prefill)
    assert 0.5 <= strength <= 1
    if case.startswith("flat"):
        assert (guided, strength) == (given, 1.0)
        return
    sure = hole_of(scene) & (np.asarray(guided.mask) == 0)
    assert sure.mean() > 0.8 * hole_of(scene).mean()
    error = (np.asarray(guided.target) - np.asarray(truth).astype(float))[sure] / 255
    assert -10 * np.log10(np.square(error).mean()) > 24


def test_a_tone_curve_is_found_despite_what_does_not_fit() -> None:
    photo = torch.rand(3, 40, 50, generator=torch.Generator().manual_seed(0))
    target = (0.7 * photo + 0.2 * photo**2 + 0.05).clamp(0, 1)
    damaged = target.clone()
    damaged[:, :8] = 0
    curve = fit_tone(photo, damaged, torch.ones(40, 50, dtype=torch.bool))
    assert (apply_tone(photo, curve) - target).abs().max() < 0.04


def test_values_spread_smoothly_from_where_they_are_known() -> None:
    known = torch.zeros(1, 64, 64)
    known[:, :, :16] = 1
    values = torch.full((3, 64, 64), 0.25) * known
    assert torch.allclose(spread(values, known), torch.full((3, 64, 64), 0.25), atol=1e-3)
    ramp = torch.linspace(0, 1, 64).expand(3, 64, 64)
    known = torch.ones(1, 64, 64)
    known[:, 24:40, 24:40] = 0
    assert (spread(ramp * known, known) - ramp).abs().max() < 0.15


def test_only_shows_the_references_and_is_reused(tmp_path: Path, start: RunScript) -> None:
    flags = ("infer.py", "--geometry", "only", "--scene", "data/graf", "--output_dir", tmp_path)
    assert "1 of 1 references" in start(*flags)
    names = {"0.png", "prefill.png", "confidence.png", "cameras.json"}
    assert names <= {path.name for path in tmp_path.iterdir()}
    times = {name: (tmp_path / name).stat().st_mtime_ns for name in names}
    start(*flags)
    assert times == {name: (tmp_path / name).stat().st_mtime_ns for name in names}
    scene = load_scene(ROOT / "data/graf")
    with Image.open(tmp_path / "0.png") as image:
        filled = np.asarray(image.convert("RGB")).astype(float)
    error = (filled - np.asarray(load_truth(ROOT / "data/graf")))[hole_of(scene)] / 255
    assert -10 * np.log10(np.square(error).mean()) > 18, "a mean colour has 11.9 dB"
