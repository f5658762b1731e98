"""One step of training and one of sampling at SD-2-inpainting's real size (`make test-slow`)."""

import json
import resource
import time
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from diffusers import (
    AutoencoderKL,
    PNDMScheduler,
    StableDiffusionInpaintPipeline,
    UNet2DConditionModel,
)
from PIL import Image
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from realfill import training
from realfill.devices import DTYPES, choose_precision
from realfill.lora import LoraSettings, add_lora, trainable
from realfill.samples import upload_photos
from realfill.sampling import SamplingSettings, complete
from realfill.scene import Scene
from realfill.training import TrainingSettings
from scripts.train_tiny_base import write_text_encoder
from tests.conftest import draw_photo


def build_sd2(folder: Path, dtype: torch.dtype) -> StableDiffusionInpaintPipeline:
    """Build the architecture from its configuration with random weights.

    The tokenizer is the small byte-level one, padded to CLIP's 77 tokens.
    """
    write_text_encoder(folder)
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", model_max_length=77)
    torch.set_default_dtype(dtype)
    try:
        unet = UNet2DConditionModel(
            sample_size=64,
            in_channels=9,
            out_channels=4,
            block_out_channels=(320, 640, 1280, 1280),
            layers_per_block=2,
            attention_head_dim=(5, 10, 20, 20),
            cross_attention_dim=1024,
            use_linear_projection=True,
        )
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(128, 256, 512, 512),
            layers_per_block=2,
            latent_channels=4,
            sample_size=512,
        )
        text_encoder = CLIPTextModel(
            CLIPTextConfig(
                hidden_size=1024,
                intermediate_size=4096,
                num_hidden_layers=23,
                num_attention_heads=16,
                hidden_act="gelu",
                vocab_size=49408,
                max_position_embeddings=77,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
            )
        )
    finally:
        torch.set_default_dtype(torch.float32)
    return StableDiffusionInpaintPipeline(
        vae=vae,
        text_encoder=text_encoder.to(dtype),
        tokenizer=tokenizer,
        unet=unet,
        scheduler=PNDMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            skip_prk_steps=True,
            set_alpha_to_one=False,
            steps_offset=1,
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def peak_gigabytes() -> float:
    """Return the most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


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
    measured["peak memory after sampling (GB)"] = peak_gigabytes()
    assert image.size == photo.size

    add_lora(pipeline, LoraSettings())
    accelerator = Accelerator(cpu=device.type == "cpu", mixed_precision=precision)
    options = TrainingSettings(0, 512, precision, max_train_steps=2, train_batch_size=1)
    run = training.prepare(accelerator, pipeline, options)
    before = [value.detach().clone() for value in trainable(run.unet).values()]
    photos = upload_photos(scene, 512, device)
    training.take_step(accelerator, run, photos, options)
    started = time.perf_counter()
    loss = training.take_step(accelerator, run, photos, options)
    measured["training: one step of batch 1 (s)"] = time.perf_counter() - started
    measured["peak memory after training (GB)"] = peak_gigabytes()
    assert torch.isfinite(loss)
    moved = [
        not torch.equal(old, new)
        for old, new in zip(before, trainable(run.unet).values(), strict=True)
    ]
    assert any(moved)
    print(json.dumps(measured, indent=2))
