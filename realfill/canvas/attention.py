"""Self-attention over all views of a canvas (LeftRefill, section 3.3), and its bias."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from torch import Tensor

from realfill.canvas.bias import Bias


class CanvasAttention:
    """A processor that joins the views of a canvas, which ride in the batch one after another."""

    def __init__(self, views: int, bias: Bias | None = None) -> None:
        """Join every `views` neighbours of the batch; `bias` draws the hole to the references."""
        self.views, self.bias, self.plain = views, bias, AttnProcessor2_0()

    def __call__(
        self,
        attention: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        **others: Any,
    ) -> Tensor:
        """Compute `attention`; `(B * V, N, C)` attends as `(B, V * N, C)`, if to itself."""
        if encoder_hidden_states is not None:
            return self.plain(attention, hidden_states, encoder_hidden_states, **others)
        count, places, channels = hidden_states.shape
        joined = hidden_states.reshape(count // self.views, self.views * places, channels)
        if self.bias is None:
            attended = self.plain(attention, joined)
        else:
            attended = attend_with(attention, joined, self.bias.at(places, joined))
        return attended.reshape(count, places, channels)


def attend_with(attention: Attention, hidden_states: Tensor, bias: Tensor) -> Tensor:
    """Compute self-attention `(B, N, C)` with a bias `(N, N)`.

    diffusers' own processor would copy the bias for every head of every image.
    """
    queries, keys, values = (
        getattr(attention, name)(hidden_states).unflatten(-1, (attention.heads, -1)).transpose(1, 2)
        for name in ("to_q", "to_k", "to_v")
    )
    attended = F.scaled_dot_product_attention(
        queries, keys, values, bias.to(queries.dtype)[None, None], scale=attention.scale
    )
    hidden_states = attended.transpose(1, 2).flatten(2)
    for layer in attention.to_out or ():
        hidden_states = layer(hidden_states)
    return hidden_states


@contextmanager
def attending(unet: UNet2DConditionModel, views: int, bias: Bias | None) -> Iterator[None]:
    """Let `unet` attend over `views` views with `bias`; with one view and none, as it does."""
    if views == 1 and bias is None:
        yield
        return
    before = unet.attn_processors
    unet.set_attn_processor(CanvasAttention(views, bias))  # type: ignore[arg-type]
    try:
        yield
    finally:
        unet.set_attn_processor(before)
