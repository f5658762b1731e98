"""A reconstruction prior in place of the prompt, after ASUKA (arXiv 2312.04831).

A masked autoencoder, which is trained to give back what is hidden and not to invent, looks at the
known pixels. Its features within the decoder, aligned to the width of the text embeddings, stand
where these stood. The masked autoencoder is a published one of transformers' `ViTMAE` classes;
only the aligner is trained.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import ConfigMixin, ModelMixin, StableDiffusionInpaintPipeline
from diffusers.configuration_utils import register_to_config
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import ViTMAEForPreTraining

from realfill.errors import UserError
from realfill.model.hub import first_line, hub_answers
from realfill.model.parts import load_part, require_own_base
from realfill.record import PartRecord

DEFAULT_AUTOENCODER = "facebook/vit-mae-base"
BELONGS_TO = ("unet.conv_in", "vae")
"""The parts of a base that an aligner is made for, of those that an adaptation leaves alone."""
DECODER_BLOCK = 6
"""The block of the masked autoencoder's decoder whose output are the features; or its last."""
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's photos in [0, 1], which published weights expect as zero and one."""


class Aligner(ModelMixin, ConfigMixin):
    """Features to embeddings: a linear layer and blocks of self-attention."""

    @register_to_config
    def __init__(
        self, features: int = 512, width: int = 768, blocks: int = 4, heads: int = 12
    ) -> None:
        """Build it with random weights."""
        super().__init__()
        self.project = nn.Linear(features, width)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True
            )
            for _ in range(blocks)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, features: Tensor) -> Tensor:
        """Return `(N, tokens, width)` of features `(N, tokens, features)`."""
        embeddings = self.project(features)
        for block in self.layers:
            embeddings = block(embeddings)
        return self.norm(embeddings)


@dataclass(frozen=True)
class Prior:
    """What stands in for the prompt."""

    autoencoder: ViTMAEForPreTraining
    aligner: Aligner

    def embed(self, photos: Tensor, masks: Tensor) -> Tensor:
        """Return embeddings `(N, tokens, width)`; see `reconstruct` for the arguments."""
        features = reconstruct(self.autoencoder, photos, masks)
        return self.aligner(features.to(next(self.aligner.parameters()).dtype))


@torch.no_grad()
def reconstruct(model: ViTMAEForPreTraining, photos: Tensor, masks: Tensor) -> Tensor:
    """Return the features `(N, tokens, F)` of what is behind `masks`, from the rest.

    `photos` are `(N, 3, H, W)` in [-1, 1], `masks` `(N, 1, H, W)` of 0 (known) and 1 (hidden). They
    are brought to the model's own square; a patch is hidden if any pixel of it is.
    """
    side, patch = model.config.image_size, model.config.patch_size
    dtype = next(model.parameters()).dtype
    mean, deviation = (photos.new_tensor(each)[:, None, None] for each in (MEAN, DEVIATION))
    small = F.interpolate(photos.float(), size=(side, side), mode="bilinear", antialias=True)
    pixels = ((small + 1) / 2 - mean) / deviation
    hidden = F.adaptive_max_pool2d(masks.float(), side // patch).flatten(1)
    rows = []
    for photo, order in zip(pixels.to(dtype).split(1), hidden.split(1), strict=True):
        with hiding(model, int(order.sum()) / order.shape[1]), captured(model) as features:
            encoded = model.vit(photo, noise=order)
            model.decoder(encoded.last_hidden_state, encoded.ids_restore)
        rows.append(features[0][:, 1:])  # without the token of the class
    return torch.cat(rows)


@contextmanager
def hiding(model: ViTMAEForPreTraining, share: float) -> Iterator[None]:
    """Let `model` hide just this share of the patches: those of the highest order."""
    trained = model.config.mask_ratio
    # It rounds down what is kept; half a patch makes sure of it.
    model.config.mask_ratio = share - 0.5 * (model.config.patch_size / model.config.image_size) ** 2
    try:
        yield
    finally:
        model.config.mask_ratio = trained


@contextmanager
def captured(model: ViTMAEForPreTraining) -> Iterator[list[Tensor]]:
    """Yield a list that gets the output of the decoder's block whose features are used."""
    found: list[Tensor] = []
    blocks = model.decoder.decoder_layers
    block = blocks[min(DECODER_BLOCK, len(blocks)) - 1]
    hook = block.register_forward_hook(lambda _module, _inputs, output: found.append(output))
    try:
        yield found
    finally:
        hook.remove()


def load_autoencoder(name: str) -> ViTMAEForPreTraining:
    """Load a masked autoencoder from a folder or the hub. Raises `UserError`."""
    local = Path(name).is_dir() or not hub_answers(name, None)
    try:
        model = ViTMAEForPreTraining.from_pretrained(
            name, local_files_only=local, use_safetensors=True, trust_remote_code=False
        )
    except (OSError, ValueError, SafetensorError, RuntimeError) as error:
        raise UserError(
            f"{name}: no masked autoencoder of transformers' ViTMAE classes can be loaded from "
            f"there ({first_line(error)}); give its folder or an id on the hub"
        ) from error
    return model.eval().requires_grad_(False)


def load_prior(folder: Path, pipeline: StableDiffusionInpaintPipeline) -> Prior:
    """Load what train_prior.py left in `folder`, for the base `pipeline`. Raises `UserError`."""
    record = PartRecord.read(folder)
    require_own_base(folder, record, pipeline, BELONGS_TO, "prior", "train_prior.py")
    aligner = load_part(Aligner, folder, pipeline)
    autoencoder = load_autoencoder(record.settings["autoencoder"])
    return Prior(autoencoder.to(pipeline.device, pipeline.unet.dtype), aligner)
