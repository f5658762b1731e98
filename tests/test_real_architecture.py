"""One step of training and one of sampling at SD-2-inpainting's real size (`make test-slow`)."""

import json
import time
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from PIL import Image

from realfill.devices import DTYPES, choose_precision
from realfill.model.lora import trainable
from realfill.sampling.sampler import complete
from realfill.scene import Scene
from realfill.settings import SamplingSettings, TrainingFlags, TrainingSettings
from realfill.training.trainer import Trainer
from scripts.bench_speed import peak_gigabytes
from scripts.sd2_architecture import build_sd2
from tests.conftest import draw_photo


@pytest.mark.slow
def test_one_step_of_training_and_of_sampling_at_512(tmp_path: Path) -> None:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    precision = choose_precision(device, None)
    pipeline = build_sd2(tmp_path, DTYPES[precision])
    assert round(sum(p.numel() for p in pipeline.unet.parameters()) / 1e6) == 866
    photo = draw_photo(0, 768, 576)
    mask = Image.new("L", photo.size, 0)
    mask.paste(255, (200, 150, 500, 400))
    scene = Scene("one", {"0": draw_photo(1, 768, 576)}, photo, mask)
    measured: dict[str, float | str] = {"device": device.type, "precision": precision}

    pipeline.set_progress_bar_config(disable=True)
    pipeline.to(device)
    started = time.perf_counter()
    settings = SamplingSettings(512, num_inference_steps=1)
    [(_, image)] = complete(pipeline, photo, mask, [0], 0, settings, quiet=True)
    measured["sampling: one image, one step, encoding and decoding (s)"] = (
        time.perf_counter() - started
    )
    measured["peak memory after sampling (GB)"] = peak_gigabytes(device)
    assert image.size == photo.size

    options = TrainingSettings(
        seed=0, resolution=512, mixed_precision=precision, max_train_steps=2, train_batch_size=1
    )
    accelerator = Accelerator(cpu=device.type == "cpu", mixed_precision=precision)
    flags = TrainingFlags(train_data_dir=tmp_path)
    trainer = Trainer.build(accelerator, pipeline, scene, options, flags)
    before = [value.detach().clone() for value in trainable(trainer.unet).values()]
    trainer.take_step()
    started = time.perf_counter()
    loss = trainer.take_step()
    measured["training: one step of batch 1 (s)"] = time.perf_counter() - started
    measured["peak memory after training (GB)"] = peak_gigabytes(device)
    assert torch.isfinite(loss)
    moved = [
        not torch.equal(old, new)
        for old, new in zip(before, trainable(trainer.unet).values(), strict=True)
    ]
    assert any(moved)
    print(json.dumps(measured, indent=2))
