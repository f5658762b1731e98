"""CLIP similarity of the whole photo.

python -m benchmark.clip --gt_path gt.png --mask_path mask.png --results_dir results
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

REPOSITORY = "openai/clip-vit-base-patch32"


class Clip(EmbeddingMetric):
    """Cosine of the image features of CLIP ViT-B/32 (-1 to 1); higher is better.

    Convention: the whole photo through CLIP's own image processor, which takes the central square;
    so the ends of a long photo are not seen. Sources: Radford et al. 2021; RealFill's Table 1 and
    eric15342335/realfill.
    """

    scores = (Score("clip", "CLIP", higher_is_better=True),)

    def settings(self) -> dict[str, Any]:
        """Return the model."""
        return {"model": identity(self.options, "clip-vit-base-patch32", REPOSITORY)}

    def load(self) -> None:
        """Load the image half of CLIP and its processor."""
        with loading(self.options, "clip-vit-base-patch32"):
            from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

            quiet_libraries()
            name = hub_name(self.options, REPOSITORY)
            self.processor = CLIPImageProcessor.from_pretrained(name)
            model = CLIPVisionModelWithProjection.from_pretrained(name)
            self.model = model.to(device()).eval()

    def embed(self, images: Sequence[Image.Image]) -> "torch.Tensor":
        """Return the projected image features of each photo."""
        pixels = self.processor(images=list(images), return_tensors="pt").pixel_values
        return self.model(pixel_values=pixels.to(self.model.device)).image_embeds


if __name__ == "__main__":
    from benchmark.suite.alone import run_alone

    run_alone("clip")
