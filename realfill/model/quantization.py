"""Weights in four bits: NF4 of QLoRA (arXiv 2305.14314), by bitsandbytes."""

from importlib import import_module

import torch
from torch import nn


def replace_linear_layers(model: nn.Module, dtype: torch.dtype) -> None:
    """Have the linear layers of `model` keep NF4 weights and compute as `dtype`.

    The weights are rounded on their way to the device: `model` must be brought there.
    """
    modules = import_module("bitsandbytes.nn")
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, nn.Linear):
                sizes = (layer.in_features, layer.out_features, layer.bias is not None)
                small = modules.Linear4bit(
                    *sizes, compute_dtype=dtype, quant_type="nf4", device="meta"
                )
                weight = layer.weight.data
                small.weight = modules.Params4bit(weight, quant_type="nf4", module=small)
                small.bias = layer.bias
                # Autocast would do so for a plain layer. This one's output is of its input's type.
                small.register_forward_pre_hook(lambda _, inputs: (inputs[0].to(dtype),))
                setattr(parent, name, small)
