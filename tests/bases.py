"""Small base models with random weights, in the real formats, for the tests."""

from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionInpaintPipeline,
    UNet2DConditionModel,
)
from safetensors.torch import save_file
from transformers import CLIPTextModel, CLIPTokenizer, ViTMAEConfig, ViTMAEForPreTraining

from realfill.canvas.poses import POSE_FILE, PoseEncoder, write_pose_encoder
from realfill.canvas.tokens import TOKEN, TOKENS_FILE
from scripts.tiny_base.text import write_text_encoder


def make_base(
    folder: Path,
    *,
    latent_channels: int = 4,
    in_channels: int | None = None,
    prediction_type: str = "epsilon",
    seed: int = 0,
) -> Path:
    """Write a random inpainting pipeline of a few thousand weights and return its folder."""
    write_text_encoder(folder / "text")
    torch.manual_seed(seed)
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(8, 8, 16),
        layers_per_block=1,
        latent_channels=latent_channels,
        norm_num_groups=4,
        sample_size=64,
        scaling_factor=0.7,
    )
    unet = UNet2DConditionModel(
        sample_size=16,
        in_channels=in_channels or 2 * latent_channels + 1,
        out_channels=latent_channels,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(16, 32),
        layers_per_block=1,
        attention_head_dim=(1, 2),
        cross_attention_dim=64,
        norm_num_groups=8,
        use_linear_projection=True,
    )
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type=prediction_type,
        clip_sample=False,
        steps_offset=1,
    )
    pipeline = StableDiffusionInpaintPipeline(
        vae=vae,
        text_encoder=CLIPTextModel.from_pretrained(folder / "text" / "text_encoder"),
        tokenizer=CLIPTokenizer.from_pretrained(folder / "text" / "tokenizer"),
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder / "base")
    return folder / "base"


def make_masked_autoencoder(folder: Path) -> Path:
    """Write a random masked autoencoder of 16 patches of 8 pixels and return its folder."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 24, "num_attention_heads": 2, "intermediate_size": 32}
    sizes |= {f"decoder_{name}": value for name, value in sizes.items()}
    sizes |= {"num_hidden_layers": 2, "decoder_num_hidden_layers": 8, "decoder_hidden_size": 16}
    model = ViTMAEForPreTraining(ViTMAEConfig(image_size=32, patch_size=8, **sizes))
    model.save_pretrained(folder)
    return folder


def write_view_tokens(folder: Path) -> Path:
    """Write tokens for the small base, with a pose encoder that tells poses apart."""
    random = torch.Generator().manual_seed(2)
    folder.mkdir(exist_ok=True)
    save_file({TOKEN: torch.randn(4, 64, generator=random)}, folder / TOKENS_FILE)
    encoder = PoseEncoder(torch.zeros(64))
    for layer in (encoder[0], encoder[2]):
        torch.nn.init.normal_(layer.weight, generator=random)
        torch.nn.init.zeros_(layer.bias)
    write_pose_encoder(folder / POSE_FILE, encoder)
    return folder / TOKENS_FILE
