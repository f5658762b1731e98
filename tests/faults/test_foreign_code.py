"""No code of the folder that a script is started from, of a model or of a scene is run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from realfill.errors import UserError
from realfill.model.base import EMBEDDED_BASE, load_base, resolve_base
from tests.conftest import ROOT, environment
from tests.faults.inject import comparable
from tests.helpers import contents

WHOLE_PATH = ("train_realfill.py", "infer.py", "loftr_ranking.py", "refill.py", "benchmarks.py")
SCRIPTS = (*WHOLE_PATH, "make_scenes.py")
MODULES = ("pycolmap", "torch", "sitecustomize", "realfill", "benchmark", "multiprocessing", "json")
TRAP = "raise SystemExit('foreign code was run')\n"


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """Return a folder of modules that end whatever imports them."""
    folder = tmp_path / "hostile"
    for name in MODULES:
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(TRAP)
        (folder / f"{name}.py").write_text(TRAP)
    return folder


def run_in(folder: Path, command: list[object]) -> str:
    result = subprocess.run(
        list(map(str, command)), cwd=folder, env=environment(), capture_output=True, text=True
    )
    assert "foreign code" not in result.stdout + result.stderr
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("script", SCRIPTS)
def test_each_script_starts_in_a_hostile_folder(hostile: Path, script: str) -> None:
    assert "usage" in run_in(hostile, [sys.executable, ROOT / script, "--help"])


@pytest.mark.slow
def test_the_whole_path_gives_the_same_bytes_from_a_hostile_folder(
    hostile: Path, scene_folder: Path, tmp_path: Path
) -> None:
    """Trains within a memory limit (trials in other processes), samples, ranks, scores, refills."""

    def play(start_in: Path, output: Path) -> dict[str, bytes]:
        short = "--max_train_steps 2 --train_batch_size 1 --num_validation_images 0 "
        short += "--report_to none --mixed_precision no --pretrained_model_name_or_path "
        short += EMBEDDED_BASE
        sampling = ["--num_images", 2, "--num_inference_steps", 2, "--seed", 1, "--rank", "sift"]
        launch = [Path(sys.executable).parent / "accelerate", "launch", "--num_processes=1"]
        model, results = output / "model", output / "results" / "scene"
        for command in (
            [*launch, ROOT / "train_realfill.py", *short.split(), "--train_data_dir", scene_folder,
             "--output_dir", model, "--seed", 1, "--max_memory_gb", 16],
            [*launch, ROOT / "infer.py", "--model_path", model, "--scene", scene_folder,
             "--output_dir", results, *sampling],
            [sys.executable, ROOT / "loftr_ranking.py", "--source_dir", results, "--scene",
             scene_folder, "--rank_only", "--matcher", "sift"],
            [sys.executable, ROOT / "benchmarks.py", "--results_base_dir", output / "results",
             "--scenes", scene_folder.parent, "--metrics", "psnr", "--num_images", 2,
             "--cache_dir", output / "cache", "--output_file", output / "report.txt",
             "--force_recalc", "loftr"],
            [*launch, ROOT / "refill.py", "--scene", scene_folder, "--output_dir",
             output / "refill", "--matcher", "sift", "--seed", 1, "--target_count", 3,
             f"--train_flags={short}", "--infer_flags=--num_images 2 --num_inference_steps 2"],
        ):  # fmt: skip
            run_in(start_in, command)
        kinds = (".png", ".safetensors", ".html", ".csv")
        files = contents(output).items()
        return {
            path.relative_to(output).as_posix(): comparable(path, content)
            for path, content in files
            if path.suffix in kinds
        }

    here, there = play(ROOT, tmp_path / "a"), play(hostile, tmp_path / "b")
    assert len(here) > 10
    assert here == there


def test_the_embedded_base_is_found_from_everywhere(
    hostile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(hostile)
    (hostile / EMBEDDED_BASE).mkdir(parents=True)
    assert Path(resolve_base(EMBEDDED_BASE)) == ROOT / EMBEDDED_BASE


def test_a_tokenizer_with_code_of_its_own_is_not_run(base_folder: Path, tmp_path: Path) -> None:
    tokenizer = tmp_path / "tokenizer"
    tokenizer.mkdir()
    (tokenizer / "code.py").write_text(TRAP)
    (tokenizer / "config.json").write_text(
        json.dumps({"model_type": "own", "auto_map": {"AutoConfig": "code.Own"}})
    )
    (tokenizer / "tokenizer_config.json").write_text(
        json.dumps({"auto_map": {"AutoTokenizer": ["code.Own", None]}})
    )
    with pytest.raises(UserError, match="cannot be loaded"):
        load_base(str(base_folder), torch.float32, tokenizer_name=str(tokenizer))


def test_a_base_with_code_of_its_own_is_not_run(base_folder: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    for part in base_folder.iterdir():
        (base / part.name).symlink_to(part)
    index = json.loads((base / "model_index.json").read_text())
    (base / "model_index.json").unlink()
    index["unet"] = ["own", "Own"]
    (base / "unet").unlink()
    (base / "unet").mkdir()
    for part in (base_folder / "unet").iterdir():
        (base / "unet" / part.name).symlink_to(part)
    (base / "unet/own.py").write_text(TRAP)
    (base / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match="cannot be loaded"):
        load_base(str(base), torch.float32)
