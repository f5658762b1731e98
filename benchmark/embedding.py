"""What metrics share that compare whole photos by their features."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

from PIL import Image

from benchmark.base import Metric
from benchmark.photos import Photo, Truth

if TYPE_CHECKING:
    import torch


class EmbeddingMetric(Metric):
    """A metric by the cosine of the angle between the features of two photos."""

    @abstractmethod
    def embed(self, images: "Sequence[Image.Image]") -> "torch.Tensor":
        """Return the features `(images, length)` of RGB photos of any sizes."""

    def measure(self, truth: Truth, completions: Sequence[Photo]) -> list[list[float]]:
        """Return the cosine of each completion's features with the truth's, from -1 to 1."""
        import torch

        with torch.inference_mode():
            features = self.embed([photo.image for photo in (truth, *completions)]).float()
            cosines = torch.nn.functional.cosine_similarity(features[:1], features[1:])
        return [[cosine] for cosine in cosines.tolist()]
