"""DreamSim distance of the whole photo.

python -m benchmark.dreamsim --gt_path gt.png --mask_path mask.png --results_dir results
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from PIL import Image

from benchmark.base import Score
from benchmark.embedding import EmbeddingMetric
from benchmark.photos import Photo, Truth
from benchmark.weights import device, identity, loading, local, read_weights

if TYPE_CHECKING:
    import torch

DINO_FILE = "checkpoints/dino_vitbase16_pretrain.pth"
DINO_URL = "https://dl.fbaipublicfiles.com/dino/dino_vitbase16_pretrain/dino_vitbase16_pretrain.pth"


class Dreamsim(EmbeddingMetric):
    """DreamSim's distance, 1 - the cosine of its features (0 to 2); lower is better.

    Convention: the whole photo squeezed to 224 x 224 by bicubic interpolation, the package's
    default ensemble of three ViT-B/16 (DINO, CLIP, OpenCLIP). Sources: Fu et al. 2023;
    RealFill's Table 1 and eric15342335/realfill.
    """

    scores = (Score("dreamsim", "DreamSim", higher_is_better=False),)

    def settings(self) -> dict[str, Any]:
        """Return the model."""
        return {"model": identity(self.options, "dreamsim", "ensemble of dreamsim 0.2")}

    def load(self) -> None:
        """Load the ensemble with the package's own loader."""
        with loading(self.options, "dreamsim"):
            import torch
            from dreamsim import dreamsim

            folder = local(self.options, "dreamsim")
            cache = folder or Path(torch.hub.get_dir()) / "dreamsim"
            cache.parent.mkdir(parents=True, exist_ok=True)
            dino = local(self.options, f"dreamsim/{DINO_FILE}")
            with (
                mock.patch.object(torch.hub, "load", lambda *_, **__: build_dino(dino)),
                mock.patch.object(torch.hub, "set_dir"),
            ):
                model, self.transform = dreamsim(device=str(device()), cache_dir=str(cache))
            self.model: Any = model.base_model.model

    def embed(self, images: Sequence[Image.Image]) -> "torch.Tensor":
        """Return the ensemble's features of each photo, without their mean, at length 1."""
        import torch

        pixels = torch.cat([self.transform(image) for image in images])
        return self.model.embed(pixels.to(self.model.device))

    def measure(self, truth: Truth, completions: Sequence[Photo]) -> list[list[float]]:
        """Return the distance of each completion."""
        return [[1 - cosine] for [cosine] in super().measure(truth, completions)]


def build_dino(weights: Path | None) -> "torch.nn.Module":
    """Return DINO's ViT-B/16, built from dreamsim's own copy of its code.

    dreamsim asks `torch.hub.load` for it, which would fetch code from GitHub and run it.
    """
    from dreamsim.feature_extraction.vision_transformer import vit_base

    model = vit_base(patch_size=16, num_classes=0)
    model.load_state_dict(read_weights(weights, DINO_URL))
    return model


if __name__ == "__main__":
    from benchmark.suite.alone import run_alone

    run_alone("dreamsim")
