"""A decoder that sees the known pixels, after ASUKA (arXiv 2312.04831).

It is a base's own decoder with layers that read the masked photo and the mask. In diffusers'
`AsymmetricAutoencoderKL` the condition never sees the mask, and takes the place of the features
where pixels are known. Here it sees the mask and is added to the features everywhere, also in the
hole, beginning with zero: an untrained one decodes just as the base does.
"""

from pathlib import Path

import torch
from diffusers import AutoencoderKL, ConfigMixin, ModelMixin, StableDiffusionInpaintPipeline
from diffusers.configuration_utils import register_to_config
from diffusers.models.autoencoders.vae import Decoder
from torch import Tensor, nn

from realfill.model.parts import load_part, require_own_base
from realfill.record import PartRecord

BELONGS_TO = ("vae",)
"""The parts of a base that a decoder is made for; the UNet may be adapted to a scene."""
DECODER_FOLDER = "decoder"
"""In the folder of a base that has one of its own."""


class HarmonizingDecoder(ModelMixin, ConfigMixin):
    """Latents, the known pixels and the mask to a picture."""

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 4,
        up_block_types: tuple[str, ...] = ("UpDecoderBlock2D",),
        block_out_channels: tuple[int, ...] = (64,),
        layers_per_block: int = 1,
        norm_num_groups: int = 32,
        act_fn: str = "silu",
        mid_block_add_attention: bool = True,
        use_post_quant_conv: bool = True,
    ) -> None:
        """Build it with random weights; the arguments are those of diffusers' `AutoencoderKL`."""
        super().__init__()
        self.post_quant_conv = (
            nn.Conv2d(latent_channels, latent_channels, 1) if use_post_quant_conv else nn.Identity()
        )
        self.decoder = Decoder(
            in_channels=latent_channels,
            up_block_types=up_block_types,
            block_out_channels=block_out_channels,
            layers_per_block=layers_per_block,
            norm_num_groups=norm_num_groups,
            act_fn=act_fn,
            mid_block_add_attention=mid_block_add_attention,
        )
        self.condition = Condition(block_out_channels)

    @classmethod
    def from_autoencoder(cls, vae: AutoencoderKL) -> "HarmonizingDecoder":
        """Return the decoder of `vae`, with a condition that adds nothing yet."""
        names = ("latent_channels", "up_block_types", "block_out_channels", "layers_per_block")
        names += ("norm_num_groups", "act_fn", "mid_block_add_attention", "use_post_quant_conv")
        built = cls(**{name: vae.config[name] for name in names})
        built.decoder.load_state_dict(vae.decoder.state_dict())
        if vae.config["use_post_quant_conv"]:
            built.post_quant_conv.load_state_dict(vae.post_quant_conv.state_dict())
        return built

    def forward(self, latents: Tensor, photo: Tensor, mask: Tensor) -> Tensor:
        """Return pictures `(N, 3, H, W)`, about [-1, 1].

        `latents` are `(N, C, H / f, W / f)` as the autoencoder decodes them, `photo` is `(N, 3, H,
        W)` in [-1, 1], of which only the known pixels are looked at, `mask` `(N, 1, H, W)` of 0
        (known) and 1 (filled).
        """
        conditions = iter(self.condition(photo, mask))
        parts = self.decoder
        features = parts.conv_in(self.post_quant_conv(latents)) + next(conditions)
        features = parts.mid_block(features)
        for block in parts.up_blocks:
            features = block(features) + next(conditions)
        return parts.conv_out(parts.conv_act(parts.conv_norm_out(features)))


class Condition(nn.Module):
    """What is added to a decoder's features, from the known pixels and the mask."""

    def __init__(self, channels: tuple[int, ...]) -> None:
        """Take the decoder's channels by level, the finest first."""
        super().__init__()
        before = (4, *channels)
        self.levels = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(before[level], width, 3, stride=2 if level else 1, padding=1),
                nn.SiLU(),
                nn.Conv2d(width, width, 3, padding=1),
                nn.SiLU(),
            )
            for level, width in enumerate(channels)
        )
        # In the decoder's order: before its middle, then after each of its blocks. All but the
        # last block double the size at their ends.
        coarsest = len(channels) - 1
        self.read = [coarsest, *(max(0, level - 1) for level in range(coarsest, -1, -1))]
        added = [channels[-1], *reversed(channels)]
        self.outputs = nn.ModuleList(
            nn.Conv2d(channels[level], width, 1)
            for level, width in zip(self.read, added, strict=True)
        )
        for parameter in self.outputs.parameters():
            nn.init.zeros_(parameter)

    def forward(self, photo: Tensor, mask: Tensor) -> list[Tensor]:
        """Return what is added, in the order in which the decoder meets it."""
        features, by_level = torch.cat([photo * (1 - mask), mask], 1), []
        for level in self.levels:
            features = level(features)
            by_level.append(features)
        return [
            output(by_level[level]) for output, level in zip(self.outputs, self.read, strict=True)
        ]


def find_decoder(requested: str | None, pipeline: StableDiffusionInpaintPipeline) -> Path | None:
    """Return the folder of the decoder to use: `requested`, or the one in the base's folder.

    None for "none", or if the base has none.
    """
    if requested is not None:
        return None if requested == "none" else Path(requested)
    own = Path(pipeline.name_or_path) / DECODER_FOLDER
    return own if own.is_dir() else None


def load_decoder(folder: Path, pipeline: StableDiffusionInpaintPipeline) -> HarmonizingDecoder:
    """Load what train_decoder.py left in `folder`, for the base `pipeline`. Raises `UserError`."""
    record = PartRecord.read(folder)
    require_own_base(folder, record, pipeline, BELONGS_TO, "decoder", "train_decoder.py")
    return load_part(HarmonizingDecoder, folder, pipeline)
