"""What metrics share that compare sets of photos by their Inception features."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np

from benchmark.base import SetMetric
from benchmark.photos import Photo, Truth
from benchmark.weights import device, identity, loading, local, read_weights

if TYPE_CHECKING:
    import torch

FILE = "fid/weights-inception-2015-12-05-6726825d.pth"


class InceptionMetric(SetMetric):
    """A metric by InceptionV3's 2048 pooled features, as torch-fidelity computes them."""

    kept_as = "fid"  # the first of them

    def settings(self) -> dict[str, Any]:
        """Return the model."""
        return {"model": identity(self.options, FILE, FILE)}

    def load(self) -> None:
        """Load torch-fidelity's extractor of features."""
        with loading(self.options, FILE):
            from torch_fidelity import feature_extractor_inceptionv3 as inception

            def safely(url: str, **_: Any) -> "dict[str, torch.Tensor]":
                return read_weights(local(self.options, FILE), url)

            with mock.patch.object(inception, "load_state_dict_from_url", safely):
                model = inception.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])
            self.model, self.device = model.to(device()), device()

    def measure(self, truth: Truth | None, completions: Sequence[Photo]) -> list[list[float]]:
        """Return the 2048 features of each photo."""
        import torch

        features = []
        with torch.inference_mode():
            for photo in completions:
                pixels = torch.from_numpy(np.array(photo.image)).to(self.device)
                features += self.model(pixels.permute(2, 0, 1)[None])[0].tolist()
        return features
