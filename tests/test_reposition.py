"""`reposition.py`: a subject is moved, and what it leaves is filled."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from realfill.canvas.tokens import TOKEN
from realfill.commands.reposition import main
from realfill.commands.tokens import main as learn
from realfill.completing.move import Move, carry
from realfill.errors import UserError
from tests.conftest import ROOT, draw_photo, environment
from tests.helpers import write_flat_scene

SUBJECT = (130, 90, 190, 150)
COLOUR = (250, 20, 20)


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """Return a flat scene in whose photo a red square stands, with its mask and a hidden part."""
    folder = write_flat_scene(tmp_path / "scene")
    photo = Image.open(folder / "target/gt.png").convert("RGB")
    photo.paste(COLOUR, SUBJECT)
    photo.save(tmp_path / "photo.png")
    hidden = Image.new("L", photo.size, 0)
    hidden.paste(255, (190, 90, 210, 150))
    hidden.save(tmp_path / "hidden.png")
    return folder


def flags(scene: Path, *more: object) -> list[str]:
    here = scene.parent
    given = ("--image", here / "photo.png", "--mask", scene / "target/mask.png", "--num_images", 1)
    shift = () if "--shift" in more else ("--shift", -90, 40)
    return [str(flag) for flag in (*given, *shift, "--output_dir", here / "out", *more)]


def test_a_subject_moves_and_geometry_fills_what_stood_behind_it(scene: Path) -> None:
    main(flags(scene, "--references", scene / "ref"))
    out = scene.parent / "out"
    result = np.asarray(Image.open(out / "repositioned.png")).astype(int)
    truth = np.asarray(Image.open(scene / "target/gt.png")).astype(int)
    assert (result[132:188, 42:98] == COLOUR).all(), "the subject, 90 to the left and 40 down"
    left = np.ones(truth.shape[:2], bool)
    left[128:192, 38:102] = False
    behind = np.zeros_like(left)
    behind[92:148, 132:188] = True
    assert np.abs(result - truth)[behind].mean() < 12, "the references show the ground there"
    around = left.copy()
    around[86:154, 126:194] = False
    assert np.array_equal(result[around], truth[around]), "nothing else has changed"
    assert {"steps.png", "realfill.json", "removed"} <= {path.name for path in out.iterdir()}
    before = (out / "removed/0.png").stat().st_mtime_ns
    main(flags(scene, "--references", scene / "ref"))
    assert (out / "removed/0.png").stat().st_mtime_ns == before, "what is there is not made again"
    with pytest.raises(UserError, match="--overwrite"):
        main(flags(scene, "--references", scene / "ref", "--scale", 2))


def test_a_model_removes_completes_and_harmonizes(
    scene: Path, base_folder: Path, tmp_path: Path
) -> None:
    for name in ("removal", "completion"):
        save_file({TOKEN: torch.randn(3, 64)}, tmp_path / f"{name}.safetensors")
    few = ("--max_train_steps", 2, "--train_batch_size", 1, "--gradient_accumulation_steps", 1)
    given = ("--train_data_dir", scene / "ref", "--base", base_folder, "--report_to", "none")
    more = ("--task", "harmonization", "--output_dir", tmp_path / "lora", "--resolution", 64)
    learn([str(flag) for flag in (*few, *given, *more, "--mixed_precision", "no")])
    tokens = [
        f"--{name}_tokens={tmp_path / name}.safetensors" for name in ("removal", "completion")
    ]
    options = ("--harmonization", tmp_path / "lora", "--hidden", tmp_path / "hidden.png")
    main(flags(scene, "--model_path", base_folder, *tokens, *options, "--mixed_precision", "no"))
    out = tmp_path / "out"
    assert {"removed", "completed"} <= {path.name for path in out.iterdir()}
    completed = np.asarray(Image.open(out / "completed/0.png"))
    removed = np.asarray(Image.open(out / "removed/0.png"))
    result = np.asarray(Image.open(out / "repositioned.png"))
    assert (completed[135:185, 45:95] == COLOUR).all()
    assert (completed != removed)[132:188, 102:118].any(), "the hidden part moves with the subject"
    assert (result != completed)[132:188, 42:98].any(), "the subject is harmonized"
    far = np.ones(result.shape[:2], bool)
    far[120:200, 30:130] = False
    assert np.array_equal(result[far], removed[far])


def test_scaling_is_about_the_middle_of_the_subject(tmp_path: Path) -> None:
    subject = Image.new("L", (120, 90), 0)
    subject.paste(255, (40, 30, 60, 50))
    move = Move(draw_photo(0), subject, (10, -5), tmp_path, scale=2.0)
    assert carry(move, subject).getbbox() == (40, 15, 80, 55)
    assert carry(Move(draw_photo(0), subject, (0, 0), tmp_path), subject).tobytes() == (
        subject.tobytes()
    )


def test_the_script_ends_with_one_line_and_code_2(scene: Path) -> None:
    command = [sys.executable, "reposition.py", *flags(scene, "--hidden", "none.png")]
    ended = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert ended.returncode == 2
    assert ended.stderr.startswith("reposition.py: none.png") and ended.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--shift", "5000", "0"), "out of the photo"),
        (("--image", "none.png"), "none.png"),
        (("--hidden", "none.png"), "none.png"),
        (("--model_path", "base", "--removal_tokens", "none.safetensors"), "none.safetensors"),
    ],
)
def test_mistakes_are_named(scene: Path, more: tuple[str, ...], said: str) -> None:
    with pytest.raises(UserError, match=said):
        main(flags(scene, *more))
    assert not (scene.parent / "out" / "repositioned.png").exists()
