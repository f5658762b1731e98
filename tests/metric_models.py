"""The metrics' models with random weights, in the formats and under the names of the real ones.

The big ones are of full size, but their layers are views of one block of random numbers; torch's
format keeps views as such, so the files are small.
"""

from pathlib import Path
from unittest import mock

import torch
from peft import LoraConfig
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, ViTConfig, ViTModel

LARGEST = 4 << 20
"""Numbers in the block; a larger layer, of AlexNet's classifier, is zero."""
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


def make_dino(folder: Path, seed: int = 0) -> None:
    """Write a ViT of two layers in the place of DINO's."""
    torch.manual_seed(seed)
    model = ViTModel(ViTConfig(**SMALL, intermediate_size=64, image_size=224, patch_size=16))
    model.save_pretrained(folder / "dino-vits16")


def make_clip(folder: Path) -> None:
    """Write a CLIP of two layers a tower in the place of the real one."""
    torch.manual_seed(0)
    vision = SMALL | {"intermediate_size": 64, "patch_size": 32, "projection_dim": 16}
    text = SMALL | {"intermediate_size": 64, "vocab_size": 100}
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16))
    model.save_pretrained(folder / "clip-vit-base-patch32")
    CLIPImageProcessor().save_pretrained(folder / "clip-vit-base-patch32")


def make_lpips(folder: Path) -> None:
    """Write AlexNet as torchvision publishes it."""
    from torchvision.models import alexnet

    write_torch(folder / "lpips" / "alexnet-owt-7be5be79.pth", as_views(alexnet()))


def make_dreamsim(folder: Path) -> None:
    """Write dreamsim's cache folder: three ViT-B/16 and the ensemble's LoRA layers."""
    from dreamsim.feature_extraction.vision_transformer import DINOHead, vit_base

    home = folder / "dreamsim"
    transformer, head = vit_base(patch_size=16, num_classes=0), DINOHead(768, 2048)
    weights = as_views(transformer)
    write_torch(home / "checkpoints" / "dino_vitbase16_pretrain.pth", weights)
    layers = {name: value for name, value in head.state_dict().items() if "mlp" in name}
    layers |= {"last_layer.weight": torch.randn(2048, 256)}
    student = {f"module.head.{name}": value for name, value in layers.items()}
    write_torch(home / "dino_vitb16_pretrain.pth", {"student": student})
    norm = {"pos_drop.weight": torch.ones(768), "pos_drop.bias": torch.zeros(768)}
    for name in ("clip", "open_clip"):
        state = weights | norm | {"proj": torch.randn(768, 512) / 28}
        write_torch(home / f"{name}_vitb16_pretrain.pth.tar", {"state_dict": state})
    lora = LoraConfig(r=16, lora_alpha=8, lora_dropout=0.3, target_modules=["qkv"])
    lora.save_pretrained(home / "ensemble_lora")
    place = "base_model.model.extractor_list.{}.model.blocks.{}.attn.qkv.lora_{}.weight"
    matrices = {
        place.format(extractor, block, side): torch.randn(shape) / 20
        for extractor in range(3)
        for block in range(12)
        for side, shape in (("A", (16, 768)), ("B", (3 * 768, 16)))
    }
    save_file(matrices, home / "ensemble_lora" / "adapter_model.safetensors")


def make_inception(folder: Path) -> None:
    """Write InceptionV3 as torch-fidelity publishes it."""
    from torch_fidelity import feature_extractor_inceptionv3 as package

    extractor = package.FeatureExtractorInceptionV3
    torch.manual_seed(0)
    with (
        mock.patch.object(package, "load_state_dict_from_url"),
        mock.patch.object(extractor, "load_state_dict"),
    ):
        model = extractor("inception-v3-compat", ["2048"])
    write_torch(folder / "fid" / "weights-inception-2015-12-05-6726825d.pth", model.state_dict())


def as_views(model: nn.Module) -> dict[str, Tensor]:
    """Return the state of `model` with its matrices as views of one random block."""
    torch.manual_seed(0)
    block = 0.02 * torch.randn(LARGEST)

    def view(value: Tensor) -> Tensor:
        if value.numel() > LARGEST:
            return torch.zeros(1).expand(value.shape)
        return block[: value.numel()].view(value.shape) if value.ndim > 1 else value

    return {name: view(value) for name, value in model.state_dict().items()}


def write_torch(path: Path, content: object) -> None:
    """Save `content` in torch's format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)
