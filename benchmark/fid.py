"""FID of a set of completions against the truths of their scenes.

python -m benchmark.fid --gt_path TRUTHS --mask_path mask.png --results_dir results

Here TRUTHS is a folder of truths: a distance between sets needs more than one. No mask is used.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np

from benchmark.base import Score, SetMetric
from benchmark.photos import Photo, Truth
from benchmark.weights import device, identity, loading, local, read_weights
from realfill.errors import UserError

if TYPE_CHECKING:
    import torch

FILE = "fid/weights-inception-2015-12-05-6726825d.pth"


class Fid(SetMetric):
    """Fréchet inception distance between all completions and all truths of a set; lower is better.

    Convention: the whole photos, InceptionV3's 2048 pooled features as torch-fidelity computes
    them. With tens of truths it is far above its value in the limit: compare it only between sets
    of the same scenes. Sources: Heusel et al. 2017; torch-fidelity. Not in RealFill's Table 1.
    """

    scores = (Score("fid", "FID", higher_is_better=False, digits=1),)

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

    def distance(self, truths: np.ndarray, completions: np.ndarray) -> float:
        """Return the Fréchet distance between two sets of features, `(photos, length)` each.

        |m1 - m2|² + tr(S1) + tr(S2) - 2 tr((S1 S2)^½). The last trace is the sum of the singular
        values of the sets' centred product, which has the size of the sets and not of the features.
        Raises `UserError` if a set has fewer than two photos.
        """
        if min(len(truths), len(completions)) < 2:
            raise UserError("FID compares two sets and needs two truths or more")
        means = truths.mean(0), completions.mean(0)
        first = (truths - means[0]) / np.sqrt(len(truths) - 1)
        second = (completions - means[1]) / np.sqrt(len(completions) - 1)
        common = np.linalg.svd(first @ second.T, compute_uv=False).sum()
        shift = ((means[0] - means[1]) ** 2).sum()
        return float(shift + (first**2).sum() + (second**2).sum() - 2 * common)


if __name__ == "__main__":
    from benchmark.suite.alone import run_alone

    run_alone("fid")
