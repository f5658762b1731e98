"""Depth in the hole from a depth model, if one reference alone shows it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    DepthAnythingConfig,
    DepthAnythingForDepthEstimation,
    Dinov2Config,
    DPTImageProcessor,
)

from realfill.geometry.cameras import find_cameras
from realfill.geometry.features import find_correspondences
from realfill.geometry.guide import cached_prefill
from realfill.geometry.prefill import Prefill, find_depths, make_prefill
from realfill.geometry.relative import DepthModel, align
from realfill.geometry.views import Cameras
from realfill.model.depth import load_depth_model
from realfill.scene import Scene
from tests.conftest import ROOT, RunScript, draw_photo
from tests.rendered import SIZE, TURNS, hole_of, photograph, psnr_of, rays, to_image

CPU = torch.device("cpu")
Alone = tuple[Scene, Image.Image, np.ndarray, Cameras]


@pytest.fixture(scope="module")
def depth_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small Depth Anything with random weights."""
    folder = tmp_path_factory.mktemp("depth")
    stages = [f"stage{number}" for number in range(1, 5)]
    backbone = Dinov2Config(
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        mlp_ratio=2,
        image_size=56,
        out_features=stages,
        reshape_hidden_states=False,
    )
    torch.manual_seed(0)
    config = DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=16,
        neck_hidden_sizes=[8] * 4,
        fusion_hidden_size=8,
        head_hidden_size=4,
        initializer_range=0.5,
    )
    model = DepthAnythingForDepthEstimation(config)
    with torch.no_grad():
        model.head.conv3.bias.fill_(5.0)  # else its last layer may cut all of it off at 0
    model.save_pretrained(folder)
    size = {"height": 56, "width": 56}
    DPTImageProcessor(size=size, keep_aspect_ratio=True, ensure_multiple_of=14).save_pretrained(
        folder
    )
    return folder


@pytest.fixture(scope="module")
def alone() -> Alone:
    """Return a scene of one reference, the truth, its true inverse depth, and the cameras."""
    truth, _ = photograph(0.0, (0.0, 0.0, 0.0))
    mask = Image.new("L", SIZE)
    mask.paste(255, (140, 90, 260, 200))
    angle, translation = TURNS["left"]
    photo, plane = photograph(angle, translation)
    turn, directions = rays(angle)
    position = -turn.T @ np.array(translation)
    depth = (plane - position[2]) / (directions @ turn)[..., 2]
    target = Image.composite(Image.new("RGB", SIZE), to_image(truth), mask)
    scene = Scene("alone", {"left": to_image(photo)}, target, mask)
    matches = find_correspondences(scene.target, scene.mask, scene.references)
    cameras = find_cameras(scene, matches, CPU)
    assert cameras.is_guess
    return scene, to_image(truth), 1 / depth, cameras


def prefill_with(alone: Alone, relative: np.ndarray | None) -> Prefill:
    scene, _, _, cameras = alone
    shapes = None if relative is None else lambda _: torch.from_numpy(relative).float()
    return make_prefill(scene, cameras, find_depths(scene, cameras, CPU, shapes))


def test_the_true_shape_fills_the_hole_far_better(alone: Alone) -> None:
    scene, truth, inverse_depth, _ = alone
    without = psnr_of(prefill_with(alone, None), truth, hole_of(scene))
    gained = psnr_of(prefill_with(alone, 3 + 70 * inverse_depth), truth, hole_of(scene))
    assert gained > without + 4, (gained, without)


def test_a_shape_that_contradicts_the_known_depths_changes_nothing(alone: Alone) -> None:
    plain = prefill_with(alone, None)
    inverse_depth = alone[2]
    noise = np.random.default_rng(0).normal(size=inverse_depth.shape)
    for wrong in (noise, -inverse_depth, np.zeros((3, 4)), np.full((3, 4), np.nan)):
        found = prefill_with(alone, wrong)
        assert found.image.tobytes() == plain.image.tobytes()
        assert found.confidence.tobytes() == plain.confidence.tobytes()


def test_scale_and_shift_are_found_despite_wrong_points(alone: Alone) -> None:
    _, _, inverse_depth, cameras = alone
    [view] = cameras.views.values()
    random = np.random.default_rng(0)
    places = torch.from_numpy(random.uniform(0.05, 0.95, (300, 2)))
    columns, rows = (places * torch.tensor(SIZE)).long().T.numpy()
    depths = 1 / inverse_depth[rows, columns]
    depths[::10] *= 3
    points = view.reference.rays(places).numpy() * depths[:, None]
    points = (points - np.array(view.translation)) @ np.array(view.rotation)
    relative = torch.from_numpy(inverse_depth * 40 - 6).float()
    found = align(relative, view, points)
    assert found is not None
    assert np.abs(found.numpy() - inverse_depth).max() < 0.01
    assert align(relative, view, points[:5]) is None


def test_the_record_of_another_depth_model_is_not_reused(alone: Alone, tmp_path: Path) -> None:
    scene, _, inverse_depth, _ = alone

    def shape(_: Image.Image) -> torch.Tensor:
        return torch.from_numpy(inverse_depth).float()

    def digest() -> str:
        return json.loads((tmp_path / "cameras.json").read_text("utf-8"))["digest"]

    plain = cached_prefill(scene, tmp_path, CPU)
    before = digest()
    one, another = DepthModel(shape, "one"), DepthModel(shape, "another")
    first = cached_prefill(scene, tmp_path, CPU, one)
    assert first.image.tobytes() != plain.image.tobytes()
    of_first = digest()
    assert of_first != before
    written = (tmp_path / "cameras.json").stat().st_mtime_ns
    assert cached_prefill(scene, tmp_path, CPU, one).message == first.message
    assert (tmp_path / "cameras.json").stat().st_mtime_ns == written
    cached_prefill(scene, tmp_path, CPU, another)
    assert digest() not in (before, of_first)


def predict(
    model: DepthAnythingForDepthEstimation, folder: Path, photo: Image.Image
) -> torch.Tensor:
    """Return what the model itself says of a photo, `(1, 1, h, w)`."""
    pixels = DPTImageProcessor.from_pretrained(folder)(photo, return_tensors="pt")
    with torch.no_grad():
        return model(**pixels).predicted_depth[None]


def test_a_depth_model_is_loaded_and_told_apart(depth_folder: Path, tmp_path: Path) -> None:
    photo = draw_photo(0)
    depth_of, name = load_depth_model(str(depth_folder), CPU)
    estimated = depth_of(photo)
    assert estimated.shape == (90, 120) and estimated.isfinite().all()
    assert np.ptp(estimated.numpy()) > 0
    reference = DepthAnythingForDepthEstimation.from_pretrained(depth_folder)
    expected = predict(reference, depth_folder, photo)
    expected = torch.nn.functional.interpolate(expected, (90, 120), mode="bicubic")[0, 0]
    assert (estimated - expected).abs().max() < 1e-4 * expected.abs().max()
    moved = shutil.copytree(depth_folder, tmp_path / "moved")
    assert load_depth_model(str(moved), CPU)[1] == name
    with torch.no_grad():
        reference.head.conv1.weight[0, 0] += 1
    reference.save_pretrained(moved)
    assert load_depth_model(str(moved), CPU)[1] != name


def test_metres_are_turned_into_inverse_depths(depth_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(depth_folder, tmp_path / "metric")
    config = json.loads((folder / "config.json").read_text("utf-8"))
    config |= {"depth_estimation_type": "metric", "max_depth": 200}
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    model = DepthAnythingForDepthEstimation.from_pretrained(folder)
    metres = torch.nn.functional.interpolate(
        predict(model, folder, draw_photo(0)), (90, 120), mode="bicubic"
    )[0, 0]
    estimated = load_depth_model(str(folder), CPU)[0](draw_photo(0))
    far = metres > 0.1
    assert far.float().mean() > 0.3
    assert ((estimated * metres)[far] - 1).abs().max() < 0.01


def test_infer_takes_a_depth_model(
    alone: Alone, depth_folder: Path, tmp_path: Path, start: RunScript, refuse: RunScript
) -> None:
    folder, output = tmp_path / "alone", tmp_path / "output"
    for path, photo in (
        ("ref/left.png", alone[0].references["left"]),
        ("target/target.png", alone[0].target),
        ("target/mask.png", alone[0].mask),
    ):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        photo.save(folder / path)
    flags = ["infer.py", "--geometry", "only", "--scene", folder, "--output_dir", output]
    said = start(*flags, "--depth_model", depth_folder)
    assert "1 of 1 references, the depth model does not fit" in said
    record = json.loads((output / "realfill.json").read_text("utf-8"))
    assert record["settings"]["depth_model"] == load_depth_model(str(depth_folder), CPU)[1]
    assert "--overwrite" in refuse(*flags)


@pytest.mark.parametrize(
    "case", ["no folder", "no model", "another model", "damaged", "pickle", "incomplete", "offline"]
)
def test_what_is_no_depth_model_is_refused(
    case: str,
    depth_folder: Path,
    tmp_path: Path,
    refuse: RunScript,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(depth_folder, folder)
    weights = folder / "model.safetensors"
    if case == "no folder":
        shutil.rmtree(folder)
    elif case == "no model":
        (folder / "config.json").unlink()
    elif case == "another model":
        shutil.rmtree(folder)
        shutil.copytree(ROOT / "data/tiny-inpainting/text_encoder", folder)
    elif case == "damaged":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif case == "pickle":
        torch.save({}, folder / "pytorch_model.bin")
        weights.unlink()
    elif case == "incomplete":
        shutil.copy(ROOT / "data/tiny-inpainting/text_encoder/model.safetensors", weights)
    name = "someone/some-depth-model" if case == "offline" else folder
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    output = tmp_path / "output"
    line = refuse(
        *("infer.py", "--scene", "data/graf", "--geometry", "only"),
        *("--output_dir", output, "--depth_model", name),
    )
    assert str(name) in line
    assert not output.exists() or not list(output.glob("*.png"))


def test_a_depth_model_without_geometry_is_refused(tmp_path: Path, refuse: RunScript) -> None:
    flags = ("infer.py", "--scene", "data/graf", "--output_dir", tmp_path, "--geometry", "off")
    assert "--depth_model" in refuse(*flags, "--depth_model", tmp_path)
