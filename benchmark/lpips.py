"""LPIPS of the hole, by both conventions that are in use.

python -m benchmark.lpips --gt_path gt.png --mask_path mask.png --results_dir results
"""

from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmark.base import Metric, Score
from benchmark.photos import Photo, Truth
from benchmark.weights import device, identity, loading, local, read_weights

if TYPE_CHECKING:
    import torch

FILES = {"alex": "alexnet-owt-7be5be79.pth", "vgg": "vgg16-397923af.pth"}
URL = "https://download.pytorch.org/models/"
BATCH_PIXELS = 4 * 512 * 512
"""Pixels of the completions that go through the network at once; VGG needs 1 KB for each."""


class Lpips(Metric):
    """LPIPS 0.1 on AlexNet (or VGG16), at 512 x 512 or the photo's own size; lower is better.

    Convention `lpips_zeroed`: everything outside the hole is set to zero (mid-grey) in both photos
    and the distance map is averaged over the whole square, so a small hole gives a small number.
    Source: eric15342335/realfill. Convention `lpips_hole`: the distance map of the whole photos,
    averaged over the hole's pixels. RealFill's Table 1 says "within the filled-in region" and not
    how. The two must not be compared with each other. Source of the distance: Zhang et al. 2018.
    """

    scores = (
        Score("lpips_zeroed", "LPIPS, rest zeroed", higher_is_better=False),
        Score("lpips_hole", "LPIPS, map over hole", higher_is_better=False),
    )

    def settings(self) -> dict[str, Any]:
        """Return the resolution and the network."""
        file = FILES[self.options.lpips_net]
        return {
            "resolution": self.options.resolution,
            "model": identity(self.options, f"lpips/{file}", file),
        }

    def load(self) -> None:
        """Load the network, and the linear layers that come with the package."""
        file = FILES[self.options.lpips_net]
        with loading(self.options, f"lpips/{file}"):
            import lpips

            # The package would unpickle torchvision's file; so it starts at random and is filled.
            model = lpips.LPIPS(net=self.options.lpips_net, pnet_rand=True, verbose=False)
            weights = read_weights(local(self.options, f"lpips/{file}"), URL + file)
            names = {name: "features." + name.split(".", 1)[1] for name in model.net.state_dict()}
            model.net.load_state_dict({name: weights[there] for name, there in names.items()})
            self.model, self.device = model.to(device()).eval(), device()

    def measure(self, truth: Truth, completions: Sequence[Photo]) -> list[list[float]]:
        """Return both distances of each completion."""
        import torch

        size = self.options.resolution
        hole = torch.from_numpy(truth.hole(size)).to(self.device)
        numbers: list[list[float]] = []
        with torch.inference_mode():
            expected = self.to_tensor([truth.pixels(size)])
            whole, zeroed = self.features(expected), self.features(expected * hole)
            batch = max(1, BATCH_PIXELS // hole.numel())
            for start in range(0, len(completions), batch):
                photos = completions[start : start + batch]
                images = self.to_tensor([photo.pixels(size) for photo in photos])
                maps = self.layer_maps(zeroed, self.features(images * hole))
                first = reduce(add, (layer.mean((1, 2, 3)) for layer in maps))
                maps = self.layer_maps(whole, self.features(images))
                full = reduce(add, (enlarge(layer, hole.shape) for layer in maps))
                second = full[:, 0, hole].mean(1)
                numbers += torch.stack([first, second], 1).tolist()
        return numbers

    def to_tensor(self, images: Sequence[np.ndarray]) -> "torch.Tensor":
        """Return uint8 `(H, W, 3)` images as `(images, 3, H, W)` from -1 to 1 on the device."""
        import torch

        pixels = torch.from_numpy(np.stack(images)).to(self.device)
        return pixels.permute(0, 3, 1, 2).float() / 127.5 - 1

    def features(self, images: "torch.Tensor") -> "list[torch.Tensor]":
        """Return the features of each layer, those of each pixel scaled to length 1."""
        import lpips

        layers = self.model.net(self.model.scaling_layer(images))
        return [lpips.normalize_tensor(layer) for layer in layers]

    def layer_maps(
        self, truth: "list[torch.Tensor]", images: "list[torch.Tensor]"
    ) -> "list[torch.Tensor]":
        """Return each layer's distance map `(images, 1, height, width)` at the layer's size.

        The package's `forward` would compute the truth's features again for every completion.
        """
        layers = zip(self.model.lins, truth, images, strict=True)
        return [weigh((image - expected) ** 2) for weigh, expected, image in layers]


def enlarge(layer: "torch.Tensor", size: Sequence[int]) -> "torch.Tensor":
    """Return a distance map at the photo's size, as the package's `spatial=True` gives it."""
    import lpips

    return lpips.upsample(layer, out_HW=size)


if __name__ == "__main__":
    from benchmark.suite.alone import run_alone

    run_alone("lpips")
