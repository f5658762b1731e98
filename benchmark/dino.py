"""DINO similarity of the whole photo.

python -m benchmark.dino --gt_path gt.png --mask_path mask.png --results_dir results
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from PIL import Image

from benchmark.base import Score
from benchmark.embedding import EmbeddingMetric
from benchmark.weights import device, hub_name, identity, loading
from realfill.command_line import quiet_libraries

if TYPE_CHECKING:
    import torch

REPOSITORY = "facebook/dino-vits16"


class Dino(EmbeddingMetric):
    """Cosine of the CLS features of DINO ViT-S/16 (-1 to 1); higher is better.

    Convention: the whole photo, its short side brought to 256 by bicubic interpolation, the
    central 224 x 224, ImageNet's mean and deviation; so the ends of a long photo are not seen.
    Sources: Caron et al. 2021 (its evaluation transform); RealFill's Table 1 and
    eric15342335/realfill.
    """

    scores = (Score("dino", "DINO", higher_is_better=True),)

    def settings(self) -> dict[str, Any]:
        """Return the model."""
        return {"model": identity(self.options, "dino-vits16", REPOSITORY)}

    def load(self) -> None:
        """Load the transformer and its transform."""
        with loading(self.options, "dino-vits16"):
            from torchvision import transforms
            from transformers import ViTModel

            quiet_libraries()
            name = hub_name(self.options, REPOSITORY)
            model = ViTModel.from_pretrained(name, add_pooling_layer=False)
            self.model = model.to(device()).eval()
            bicubic = transforms.InterpolationMode.BICUBIC
            self.transform: Any = transforms.Compose(
                [
                    transforms.Resize(256, interpolation=bicubic),
                    transforms.CenterCrop(224),
                    transforms.ToTensor(),
                    transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
                ]
            )

    def embed(self, images: Sequence[Image.Image]) -> "torch.Tensor":
        """Return the CLS token of the last layer for each photo."""
        import torch

        pixels = torch.stack([self.transform(image) for image in images])
        return self.model(pixels.to(self.model.device)).last_hidden_state[:, 0]


if __name__ == "__main__":
    from benchmark.suite.alone import run_alone

    run_alone("dino")
