"""One step of training and one of sampling at SD-2-inpainting's real size (`make test-slow`)."""

import json
import time
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from PIL import Image

from realfill.devices import DTYPES, autocast, choose_precision
from realfill.model.decoder import HarmonizingDecoder
from realfill.model.lora import trainable
from realfill.photo_training.decoder import pixel_weights, weighted_error
from realfill.sampling.sampler import complete
from realfill.scene import Scene
from realfill.settings import SamplingSettings, TrainingFlags, TrainingSettings
from realfill.training.trainer import Trainer
from scripts.bench_speed import peak_gigabytes
from scripts.sd2_architecture import build_sd2, build_vae
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


@pytest.mark.slow
def test_a_decoder_of_its_shape_trains_and_decodes_at_512() -> None:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    vae = build_vae()
    decoder = HarmonizingDecoder.from_autoencoder(vae).to(device)
    latents = torch.randn(1, 4, 64, 64, device=device)
    photo = torch.rand(1, 3, 512, 512, device=device) * 2 - 1
    mask = torch.zeros(1, 1, 512, 512, device=device)
    mask[..., 128:384, 128:384] = 1
    measured: dict[str, float | str] = {"device": device.type}
    measured["parameters, of the condition (M)"] = (
        sum(p.numel() for p in decoder.condition.parameters()) / 1e6
    )
    with torch.no_grad(), autocast(device):
        own = vae.to(device).decode(latents).sample
        started = time.perf_counter()
        decoded = decoder(latents, photo, mask)
    measured["decoding (s)"] = time.perf_counter() - started
    measured["peak memory after decoding (GB)"] = peak_gigabytes(device)
    torch.testing.assert_close(decoded, own, atol=0.05, rtol=0)  # in bf16, if that is fast
    optimizer = torch.optim.AdamW(decoder.parameters(), 1e-4)
    weights = pixel_weights(mask, torch.ones(1, 1, 1, 1, device=device))
    losses = []
    for _ in range(2):
        started = time.perf_counter()
        with autocast(device):
            difference = decoder(latents, photo, mask).float() - photo
        loss = weighted_error(difference, weights)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        measured["training: one step of batch 1 (s)"] = time.perf_counter() - started
    measured["peak memory after training (GB)"] = peak_gigabytes(device)
    assert torch.isfinite(torch.tensor(losses)).all()
    moved = [parameter.abs().max() > 0 for parameter in decoder.condition.outputs.parameters()]
    assert all(moved), "they began with zero"
    print(json.dumps(measured, indent=2))
