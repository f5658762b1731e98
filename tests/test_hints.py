"""What geometry tells a training run of the target's hole."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from realfill.geometry.prefill import Depths
from realfill.geometry.rendering import make_stage
from realfill.geometry.views import Cameras
from realfill.record import TrainingRecord
from realfill.scene import Scene, load_scene
from realfill.training.crops import draw_batch, upload_photos
from realfill.training.hints import Hints, region_of
from tests.conftest import RunScript, train_flags
from tests.rendered import FOCAL, SIZE, TURNS, photograph, rays

CPU = torch.device("cpu")


def true_region(name: str, mask: Image.Image) -> np.ndarray:
    """Return which pixels of a rendered reference lie in the target's hole, bool `(H, W)`."""
    turn, directions = rays(TURNS[name][0])
    directions = directions @ turn
    position = -turn.T @ np.array(TURNS[name][1])
    depth = photograph(*TURNS[name])[1]
    places = position + ((depth - position[2]) / directions[..., 2])[..., None] * directions
    pixels = places[..., :2] / depth[..., None] * FOCAL + np.array(SIZE) / 2
    left, top, right, bottom = mask.getbbox()
    inside = (pixels >= (left, top)) & (pixels < (right, bottom))
    return inside.all(-1)


def test_the_region_is_what_the_reference_shows_of_the_hole(
    rendered: tuple[Scene, Cameras, Image.Image, np.ndarray],
) -> None:
    scene, cameras, _, depth = rendered
    stage = make_stage(scene.target, scene.mask, scene.references, CPU)
    columns, rows = (stage.points * torch.tensor(SIZE)).long().unbind(-1)
    inverse = torch.from_numpy(1 / depth).float()[rows, columns]
    depths = Depths(stage, inverse, torch.zeros_like(inverse))
    for name, view in cameras.views.items():
        found = np.asarray(region_of(view, depths, SIZE)) > 0
        expected = true_region(name, scene.mask)
        overlap = (found & expected).sum() / (found | expected).sum()
        assert overlap > 0.85, (name, overlap)


@pytest.fixture
def hints(scene_folder: Path) -> tuple[Scene, Hints]:
    """Return a scene and what geometry could have found: half of the hole, one region."""
    scene = load_scene(scene_folder)
    white = Image.new("RGB", scene.target.size, "white")
    confidence = scene.mask.point(lambda value: value and 128)
    name = next(iter(scene.references))
    region = Image.new("L", scene.references[name].size)
    region.paste(255, (0, 0, region.width, region.height // 2))
    image = Image.composite(white, scene.target, scene.mask)
    return scene, Hints(image, confidence, {name: region})


def test_hints_fill_the_hole_and_aim_the_masks(hints: tuple[Scene, Hints]) -> None:
    scene, given = hints
    photos = upload_photos(scene, 64, CPU, given)
    assert list(photos.regions) == [0] and len(photos.photos) == len(scene.references) + 1
    batch = draw_batch(photos, 400, 64, torch.Generator().manual_seed(0))
    of_target = batch.unknown.flatten(1).any(1)
    for image, mask, unknown in zip(
        *(part[of_target] for part in (batch.images, batch.masks, batch.unknown)), strict=True
    ):
        inner = -torch.nn.functional.max_pool2d(-mask, 5, 1, 2) > 0
        assert (image[:, inner[0]] > 0.95).all(), "the hole is filled"
        assert unknown[inner].numpy() == pytest.approx(1 - 128 / 255, abs=0.01)
    tops = batch.masks[:, 0, :16].flatten(1).amin(1) * (
        1 - batch.masks[:, 0, -16:].flatten(1).amax(1)
    )
    aimed = (tops[~of_target] > 0).float().mean()
    share = 1 / len(scene.references) / 2
    assert aimed.item() == pytest.approx(share, abs=0.1)


def test_a_training_run_uses_geometry_if_asked(
    base_folder: Path, tmp_path: Path, start: RunScript, refuse: RunScript
) -> None:
    flags = [*train_flags("data/graf", base_folder, tmp_path, steps=1), "--resolution", 64]
    start(*flags, "--use_geometry")
    assert TrainingRecord.read(tmp_path).settings["use_geometry"]
    again = [*flags, "--resume_from_checkpoint", "latest"]
    assert str(tmp_path) in refuse(*again)
    path = tmp_path / "realfill.json"
    record = json.loads(path.read_text("utf-8"))
    del record["settings"]["use_geometry"]
    path.write_text(json.dumps(record), "utf-8")
    assert "trained already" in start(*again)
