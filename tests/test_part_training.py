"""Two minutes of training a part for a base, killed in between (`make test-slow`)."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from realfill.model.base import load_base
from realfill.model.decoder import load_decoder
from realfill.model.prior import load_prior
from tests.bases import make_masked_autoencoder
from tests.conftest import ROOT, draw_photo, environment, run_script

OFTEN = (
    "import runpy, sys\n"
    "from realfill.photo_training import loop\n"
    "loop.SAVE_EVERY_SECONDS = 5\n"
    "sys.argv = sys.argv[1:]\n"
    "runpy.run_path(sys.argv[0], run_name='__main__')\n"
)


@pytest.mark.slow
@pytest.mark.parametrize("part", ["decoder", "prior"])
def test_two_minutes_of_training_killed_in_between(
    part: str, base_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "photos").mkdir()
    for index in range(3):
        draw_photo(index).save(tmp_path / "photos" / f"{index}.png")
    output = tmp_path / part
    command = [sys.executable, "-c", OFTEN, f"train_{part}.py", "--photos", tmp_path / "photos"]
    command += ["--base", base_folder, "--output_dir", output, "--max_minutes", 2]
    command += ["--train_batch_size", 2]
    if part == "prior":
        command += ["--autoencoder", make_masked_autoencoder(tmp_path / "autoencoder")]
    words = [str(word) for word in command]
    running = subprocess.Popen(words, cwd=ROOT, env=environment())
    try:
        started = time.monotonic()
        while not (output / "training.safetensors").exists():
            assert running.poll() is None
            assert time.monotonic() - started < 200
            time.sleep(1)
    finally:
        running.kill()
        running.wait()
    assert json.loads((output / "realfill.json").read_text())["steps"] == 0
    run_script(words, environment(), timeout=500)
    lines = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    assert 120 <= lines[-1]["seconds"] < 150, "both runs count"
    assert json.loads((output / "realfill.json").read_text())["steps"] == lines[-1]["step"]
    pipeline = load_base(str(base_folder), torch.float32)
    (load_decoder if part == "decoder" else load_prior)(output, pipeline)
