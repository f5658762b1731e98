"""The embedded base model, the demo scenes and the demo's settings."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionInpaintPipeline
from PIL import Image
from safetensors import safe_open

from realfill.errors import UserError
from realfill.scene import load_scene, load_truth
from scripts import train_tiny_base
from tests.conftest import ROOT, RunScript, draw_photo, environment, launch

BASE = ROOT / "data" / "tiny-inpainting"


def test_it_is_small_safe_and_half_precision() -> None:
    files = [path for path in BASE.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 40e6
    weights = [path for path in files if path.suffix == ".safetensors"]
    assert {path.parent.name for path in weights} == {"unet", "vae", "text_encoder", "decoder"}
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".md", ".jpg"}
    for index in BASE.rglob("*.index.json"):
        named = set(json.loads(index.read_text())["weight_map"].values())
        assert {path.name for path in weights if path.parent == index.parent} == named
    for path in weights:
        with safe_open(path, "pt") as tensors:
            kinds = {tensors.get_slice(key).get_dtype() for key in tensors.keys()}  # noqa: SIM118
        assert kinds == {"F16"}


def test_stock_diffusers_loads_it() -> None:
    pipeline = StableDiffusionInpaintPipeline.from_pretrained(BASE, dtype=torch.float32)
    assert pipeline.unet.config.in_channels == 9
    assert pipeline.scheduler.config.prediction_type == "v_prediction"
    tokens = pipeline.tokenizer("a photo of sks").input_ids
    assert len(tokens) == len("aphotoofsks") + 2
    assert pipeline.tokenizer.decode(tokens, skip_special_tokens=True).strip() == "a photo of sks"


@pytest.mark.parametrize("name", ["yard", "graf", "leuven"])
def test_the_demo_scenes_are_whole(name: str) -> None:
    scene = load_scene(ROOT / "data" / name)
    truth = load_truth(ROOT / "data" / name)
    assert truth.size == scene.target.size
    assert min(truth.size) == 512


def test_the_demo_in_a_few_steps(tmp_path: Path, start: RunScript) -> None:
    flags = ("--train_data_dir", "data/yard", "--output_dir", tmp_path / "model")
    launch("train_realfill.py", "@data/demo.args", *flags, "--max_train_steps", 2)
    flags = ("--model_path", tmp_path / "model", "--scene", "data/yard", "--seed", 0)
    flags += ("--num_images", 2, "--num_inference_steps", 2)
    results = tmp_path / "yard"
    for name, options in (
        ("base-only", ("--geometry", "off", "--base_only")),
        ("fine-tuned", ("--geometry", "off", "--rank", "sift")),
        ("geometry", ()),
    ):
        printed = start("infer.py", *flags, *options, "--output_dir", results / name)
        assert f"look at {results}/{name}/contact_sheet.png" in printed
    flags = ("--results_base_dir", tmp_path, "--scenes", "data", "--num_images", 2)
    flags += ("--metrics", "psnr", "ssim", "--compare", "base-only", "fine-tuned")
    flags += ("--loftr_script_path", "none", "--cache_dir", tmp_path / "cache")
    start("benchmarks.py", *flags, "--output_file", tmp_path / "report.txt")
    report = json.loads((tmp_path / "report.json").read_text())
    difference = report["comparisons"][0]["differences"]["psnr"]
    assert difference["first"] != difference["second"]
    proven = np.asarray(Image.open(results / "geometry" / "0.png")).astype(float)
    scene, truth = load_scene(ROOT / "data/yard"), load_truth(ROOT / "data/yard")
    hole = np.asarray(scene.mask) > 127
    error = np.square(proven - np.asarray(truth))[hole].mean()
    assert 10 * np.log10(255**2 / error) > 28


@pytest.mark.parametrize(
    ("output", "complaint"), [("base", "give another --output_dir"), ("new", "no training.json")]
)
def test_training_further_refuses_what_would_be_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str, complaint: str
) -> None:
    (tmp_path / "base").mkdir()
    flags = ("--photos", tmp_path, "--start_from", tmp_path / "base", "--output_dir")
    monkeypatch.setattr(sys, "argv", ["train_tiny_base", *map(str, flags), str(tmp_path / output)])
    with pytest.raises(UserError, match=complaint):
        train_tiny_base.main()
    assert list(tmp_path.iterdir()) == [tmp_path / "base"]


@pytest.mark.slow
def test_the_training_script_learns_resumes_and_leaves_a_pipeline(tmp_path: Path) -> None:
    """Two minutes of training on drawn photos; time runs out in the middle."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for index in range(24):
        kind = "bsds" if index % 2 else "in"
        draw_photo(index, 240, 180).save(photos / f"{kind}-{index}.jpg")

    def run(*more: object) -> str:
        flags = ("--photos", photos, "--work_dir", tmp_path / "work", "--held_out", 4)
        flags += ("--output_dir", tmp_path / "pipeline", "--unet_batch_size", 4)
        flags += ("--autoencoder_steps", 100, "--unet_steps", 150, "--hardware", "a CPU", *more)
        result = subprocess.run(
            [sys.executable, "-m", "scripts.train_tiny_base", *map(str, flags)],
            cwd=ROOT,
            env=environment(),
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        return result.stdout

    stopped = run("--max_minutes", 0.2)
    assert "give the same command again to go on" in stopped
    steps_done = int(stopped.split()[1])
    assert 0 < steps_done < 100
    assert not (tmp_path / "pipeline").exists()

    assert json.loads(run())["photos"] == 4
    for part, steps in (("autoencoder", 100), ("unet", 150)):
        lines = (tmp_path / "work" / part / "log.jsonl").read_text().splitlines()
        log = [json.loads(line) for line in lines]
        assert [line["step"] for line in log] == list(range(50, steps + 1, 50)), "none twice"
        assert log[-1]["loss"] < log[0]["loss"]
    card = (tmp_path / "pipeline" / "README.md").read_text()
    assert "20 photos; 4 others were held out" in card
    assert "| autoencoder | 1.52 M | 100 | 1,600 |" in card
    autoencoder = "vae/diffusion_pytorch_model.safetensors"
    before = (tmp_path / "pipeline" / autoencoder).read_bytes()
    further = ("--start_from", tmp_path / "pipeline", "--output_dir", tmp_path / "further")
    run(*further, "--work_dir", tmp_path / "work-further", "--unet_steps", 50)
    table = (tmp_path / "further" / "README.md").read_text().splitlines()
    rows = [line.split(" | ")[:3] for line in table if line.startswith("| unet ")]
    assert [steps for _, _, steps in rows] == ["150", "50"]
    assert (tmp_path / "further" / autoencoder).read_bytes() == before
    pipeline = StableDiffusionInpaintPipeline.from_pretrained(
        tmp_path / "pipeline", dtype=torch.float32
    )
    assert pipeline.vae.config.scaling_factor > 0
    assert max(path.stat().st_size for path in (tmp_path / "pipeline").rglob("*")) <= 15e6
