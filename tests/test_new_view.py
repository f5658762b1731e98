"""New views: poses of cameras, what they are learned from, and `new_view.py`."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from realfill.canvas.poses import (
    POSE_FILE,
    pose,
    pose_between,
    read_pose_encoder,
    rotation,
)
from realfill.canvas.tokens import TOKEN, TOKENS_FILE
from realfill.canvas.view_photos import find_views, turn
from realfill.commands.new_view import main
from realfill.commands.tokens import main as learn
from realfill.completing.new_view import nearest
from realfill.errors import UserError
from realfill.geometry.hypotheses import guess_intrinsics
from tests.bases import write_view_tokens
from tests.conftest import draw_photo
from tests.helpers import write_flat_scene
from tests.rendered import TURNS

CPU = torch.device("cpu")


def test_a_pose_says_how_cameras_lie(rendered) -> None:
    """A rotation is checked against its axis and angle, a way forward against the one made."""
    assert np.allclose(rotation(0.3, 0), cv2.Rodrigues(np.array([0, -0.3, 0.0]))[0])
    assert np.allclose(rotation(0, 0.2), cv2.Rodrigues(np.array([-0.2, 0, 0.0]))[0])
    cameras = rendered[1]
    for name, (angle, _) in TURNS.items():
        told = pose_between(cameras.views[name])
        assert np.allclose(told[:3], (0, np.sin(angle), np.cos(angle)), atol=1e-9)
    left, right = cameras.views["left"], cameras.views["right"]
    there, back = pose_between(left, right), pose_between(right, left)
    assert there[1] == pytest.approx(-back[1])
    assert there[1] == pytest.approx(-np.sin(TURNS["right"][0] - TURNS["left"][0]))
    nearest = cameras.views["right"]
    turned, center = np.array(nearest.rotation), nearest.center
    assert pose_between(nearest)[3] == pytest.approx(float((turned @ -center)[2]))


def test_a_turn_before_a_photo_is_what_the_pose_says() -> None:
    """The second view's middle is where its camera's axis meets the photo."""
    photo = np.asarray(draw_photo(4, 320, 240))
    camera = guess_intrinsics((320, 240))
    for seed in range(5):
        (first, second), told = turn(photo, 128, np.random.default_rng(seed))
        assert first.shape == second.shape == (128, 128, 3)
        elevation, azimuth = told[0], np.arctan2(told[1], told[2])
        ray = np.array([np.tan(azimuth), -np.tan(elevation) / np.cos(azimuth), 1])
        [[column, row]] = camera.project(torch.tensor(ray)[None]).numpy() * (320, 240)
        around = photo[round(row) - 1 : round(row) + 2, round(column) - 1 : round(column) + 2]
        assert np.abs(second[63:65, 63:65].mean((0, 1)) - around.mean((0, 1))).max() < 12
        assert told == pose(azimuth, elevation)


def test_new_views_are_learned_and_resumed(base_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for index in range(2):
        draw_photo(index, 160, 120).save(tmp_path / "photos" / f"{index}.png")

    def flags(output: str, *more: object) -> list[str]:
        given = ("--task", "view", "--train_data_dir", tmp_path / "photos", "--base", base_folder)
        few = ("--train_batch_size", 2, "--gradient_accumulation_steps", 1, "--vectors", 4)
        few += ("--max_train_steps", 50, "--resolution", 32, "--checkpointing_steps", 20)
        quiet = ("--report_to", "none", "--seed", 3, "--mixed_precision", "no")
        return [
            str(flag) for flag in (*given, *few, *quiet, "--output_dir", tmp_path / output, *more)
        ]

    learn(flags("whole"))
    learn(flags("resumed", "--max_train_steps", 20))
    (tmp_path / "resumed" / TOKENS_FILE).unlink()
    learn(flags("resumed", "--resume_from_checkpoint", "latest"))
    for name in (TOKENS_FILE, POSE_FILE):
        whole, resumed = (load_file(tmp_path / each / name) for each in ("whole", "resumed"))
        assert whole.keys() == resumed.keys()
        assert all(torch.equal(value, resumed[key]) for key, value in whole.items())
    trained = load_file(tmp_path / "whole" / "checkpoint-40" / "training.safetensors")
    names = {key for key in trained if not key.startswith("optimizer")}
    layers = {
        f"text_encoder.pose_encoder.{k}.{part}" for k in (0, 2) for part in ("weight", "bias")
    }
    assert names == {"text_encoder.task_tokens"} | layers
    encoder = read_pose_encoder(tmp_path / "whole" / TOKENS_FILE)
    told = encoder(torch.tensor([pose(0.3, 0), pose(-0.3, 0)]))
    assert not torch.equal(told[0], told[1]), "poses have come to differ"


def test_each_sample_is_trained_with_its_own_pose(base_folder: Path) -> None:
    """What the trained text encoder sees is what stock diffusers embeds of all vectors."""
    from realfill.canvas.learning import POSES, add_trainable_tokens
    from realfill.model.base import load_base
    from realfill.settings import TaskSettings
    from realfill.training.build import tokenize

    settings = TaskSettings(seed=0, resolution=32, mixed_precision="no", task="view", vectors=3)
    training = load_base(str(base_folder), torch.float32)
    prompt = add_trainable_tokens(training, settings, CPU)
    encoder = getattr(training.text_encoder, POSES)
    torch.nn.init.normal_(encoder[2].weight)
    encoder.poses = torch.tensor([pose(0.1, 0.2, 0.3), pose(-0.4, 0.1)])
    with torch.no_grad():
        told = encoder(encoder.poses)
        seen = training.text_encoder(tokenize(training, [prompt, prompt, ""]))[0]
    vectors = training.text_encoder.task_tokens.detach()
    for k in range(2):
        stock = load_base(str(base_folder), torch.float32)
        stock.load_textual_inversion({TOKEN: torch.cat([vectors, told[k : k + 1]])})
        embedded, _ = stock.encode_prompt(TOKEN, CPU, 1, False)
        assert torch.allclose(seen[k], embedded[0], atol=1e-6)
    empty, _ = stock.encode_prompt("", CPU, 1, False)
    assert torch.allclose(seen[2], empty[0], atol=1e-6)


def test_scenes_and_the_targets_pose(rendered, tmp_path: Path) -> None:
    scene, cameras, *_ = rendered
    folder = tmp_path / "scenes" / "planes"
    for part in ("ref", "target"):
        (folder / part).mkdir(parents=True)
    for name, photo in scene.references.items():
        photo.save(folder / "ref" / f"{name}.png")
    scene.target.save(folder / "target/target.png")
    scene.mask.save(folder / "target/mask.png")
    photos = find_views(tmp_path / "scenes", CPU)
    [place] = photos.places
    found = {path.stem: view for path, view in place}
    assert len(found) >= 2
    for name, view in found.items():
        assert np.allclose(pose_between(view)[:3], pose_between(cameras.views[name])[:3], atol=0.02)
    batch = photos.draw(2, 32, torch.Generator().manual_seed(0))
    assert batch.images.shape == (2, 3, 32, 64) and batch.poses.shape == (2, 4)
    assert not batch.masks[..., :32].any() and batch.masks[..., 32:].all()
    assert nearest(found) == "near"
    assert pose_between(found["near"])[1] == pytest.approx(np.sin(TURNS["near"][0]), abs=0.02)
    flat = write_flat_scene(tmp_path / "flat")
    (tmp_path / "tokens").touch()
    with pytest.raises(UserError, match="parallax"):
        main(["--scene", str(flat), "--model_path", "x", "--task_tokens", str(tmp_path / "tokens")])


def test_pictures_of_a_view(base_folder: Path, tmp_path: Path) -> None:
    tokens = write_view_tokens(tmp_path / "tokens")
    draw_photo(0, 160, 120).save(tmp_path / "photo.png")

    def paint(*more: object) -> dict[str, bytes]:
        given = ("--image", tmp_path / "photo.png", "--model_path", base_folder)
        few = ("--num_images", 2, "--num_inference_steps", 2, "--resolution", 32)
        place = ("--task_tokens", tokens, "--output_dir", tmp_path / "view")
        main([str(flag) for flag in (*given, *few, *place, *more)])
        return {path.name: path.read_bytes() for path in (tmp_path / "view").glob("*.png")}

    once = paint("--turn", 20, 0)
    assert sorted(once) == ["0.png", "1.png"]
    assert Image.open(tmp_path / "view" / "0.png").size == (160, 120)
    assert paint("--turn", 20, 0) == once
    with pytest.raises(UserError, match="another view"):
        paint("--turn", 25, 0)
    other = paint("--turn", -20, 0, "--num_images", 1, "--overwrite")
    assert sorted(other) == ["0.png"] and other["0.png"] != once["0.png"]
    settings = json.loads((tmp_path / "view" / "realfill.json").read_text())["settings"]
    assert settings["pose"] == list(pose(np.radians(-20), 0.0))
    (tokens.parent / POSE_FILE).unlink()
    with pytest.raises(UserError, match=POSE_FILE):
        paint("--turn", 20, 0)
