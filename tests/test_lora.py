"""The LoRA file holds every layer that was trained, under names that stock diffusers loads."""

from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionInpaintPipeline

from realfill.model.base import load_base
from realfill.model.lora import add_lora, save_lora, trainable
from realfill.record import LORA_FILE
from realfill.settings import UNET_TARGETS, TrainingSettings


@pytest.mark.parametrize("more", [(), ("conv1", "conv2"), ("proj_in", "ff.net.2")])
def test_what_was_trained_is_what_stock_diffusers_loads(
    base_folder: Path, tmp_path: Path, more: tuple[str, ...]
) -> None:
    trained = load_base(str(base_folder), torch.float32)
    lora = {"lora_rank": 4, "lora_alpha": 12, "lora_dropout": 0.5}
    targets = UNET_TARGETS + more
    add_lora(
        trained,
        TrainingSettings(
            seed=0, resolution=64, mixed_precision="no", **lora, lora_target_modules=targets
        ),
    )
    layers = {**trainable(trained.unet), **trainable(trained.text_encoder)}
    with torch.no_grad():
        for value in layers.values():
            value.add_(0.1 * torch.randn_like(value))
    save_lora(trained, tmp_path)
    assert str(base_folder).encode() not in (tmp_path / LORA_FILE).read_bytes(), "no local path"

    stock = StableDiffusionInpaintPipeline.from_pretrained(base_folder, dtype=torch.float32)
    stock.load_lora_weights(tmp_path)
    loaded = [
        name
        for model in (stock.unet, stock.text_encoder)
        for name, _ in model.named_parameters()
        if ".lora_" in name
    ]
    assert len(loaded) == len(layers)
    latents, embedding = torch.randn(1, 9, 16, 16), torch.randn(1, 4, 64)
    tokens = torch.tensor([[512, 1, 2, 513]])
    trained.unet.eval()
    trained.text_encoder.eval()
    with torch.no_grad():
        for first, second in (
            (
                trained.unet(latents, 5, embedding).sample,
                stock.unet(latents, 5, embedding).sample,
            ),
            (trained.text_encoder(tokens)[0], stock.text_encoder(tokens)[0]),
        ):
            assert torch.equal(first, second)
