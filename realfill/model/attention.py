"""The attention path for training on a CPU."""

from typing import Any

from diffusers.models.attention_processor import Attention, AttnProcessor, AttnProcessor2_0
from torch import Tensor

SHORT = 256
"""Keys up to which explicit attention is the faster one, forward and backward together."""

explicit, fused = AttnProcessor(), AttnProcessor2_0()


def attend_on_cpu(
    attention: Attention,
    hidden_states: Tensor,
    encoder_hidden_states: Tensor | None = None,
    **others: Any,
) -> Tensor:
    """Compute `attention`: with matrix products if keys are few, else with torch's own kernel.

    Backwards, torch's kernel is slow on a CPU if sequences are short: four times slower than
    the matrix products with 64 keys, as fast with 1,024.
    """
    keys = hidden_states if encoder_hidden_states is None else encoder_hidden_states
    few = hidden_states.ndim == 3 and keys.shape[1] <= SHORT
    return (explicit if few else fused)(attention, hidden_states, encoder_hidden_states, **others)
