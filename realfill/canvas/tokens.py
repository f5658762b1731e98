"""Task tokens: vectors at the text encoder's input that tell a frozen base what to do.

LeftRefill (arXiv 2305.11577, section 3.2) and SEELE (arXiv 2401.16861) learn such vectors in place
of a prompt.
"""

import pickle
from pathlib import Path

import torch
from diffusers import StableDiffusionInpaintPipeline
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from realfill.errors import UserError
from realfill.storage import write_tensors

TOKENS_FILE = "learned_embeds.safetensors"
TOKEN = "<task>"
"""The word in a prompt that stands for all vectors: stock diffusers puts them in its place."""
PUBLISHED = "cond_stage_model.special_embeddings.weight"
"""LeftRefill's name of its vectors, in a checkpoint of its trainer."""
AROUND = 2
"""Places of a sequence that begin and end it."""


def read_tokens(path: Path) -> Tensor:
    """Return the vectors of `path`, `(N, channels)` in fp32.

    Reads LeftRefill's published checkpoint, and a file with one tensor as `load_textual_inversion`
    takes it. Raises `UserError` for anything else; nothing in the file is executed.
    """
    try:
        if path.suffix == ".safetensors":
            content = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
            content = content.get("state_dict", content)
        found = {name: value for name, value in content.items() if isinstance(value, Tensor)}
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError) as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path}: damaged, or no file of task tokens ({said})") from None
    except AttributeError:
        found = {}
    if PUBLISHED in found:
        found = {PUBLISHED: found[PUBLISHED]}
    tensors = list(found.values())
    if len(tensors) != 1 or tensors[0].ndim not in (1, 2):
        raise UserError(
            f"{path}: holds {len(tensors)} tensors, and task tokens are one of N x channels; give "
            f"LeftRefill's checkpoint, or what train_task_tokens.py left ({TOKENS_FILE})"
        )
    tokens = tensors[0].float().reshape(-1, tensors[0].shape[-1])
    if not tokens.isfinite().all():
        raise UserError(f"{path}: holds numbers that are not finite; train again")
    return tokens


def add_tokens(
    pipeline: StableDiffusionInpaintPipeline, tokens: Tensor, place: str, token: str = TOKEN
) -> str:
    """Give the pipeline the prompt `token` for `tokens`, `(N, channels)`, and return it.

    What diffusers' `load_textual_inversion` does. Raises `UserError`, naming `place`, if the
    vectors do not fit the base.
    """
    count, channels = tokens.shape
    width = pipeline.text_encoder.get_input_embeddings().weight.shape[1]
    room = pipeline.tokenizer.model_max_length - AROUND
    if channels != width:
        raise UserError(
            f"{place}: its vectors have {channels} channels, the base's text encoder takes "
            f"{width}; give the base that they were trained on"
        )
    if count > room:
        raise UserError(f"{place}: {count} vectors, and the base takes {room} at most")
    pipeline.load_textual_inversion({token: tokens})
    return token


def write_tokens(path: Path, tokens: Tensor) -> None:
    """Write `tokens`, `(N, channels)`, as stock `load_textual_inversion(path)` reads them."""
    write_tensors(path, {TOKEN: tokens.detach().float().cpu().contiguous()})


def mean_embedding(pipeline: StableDiffusionInpaintPipeline, text: str) -> Tensor:
    """Return the mean of the input embeddings of the words of `text`, `(channels,)` in fp32.

    LeftRefill begins all its vectors there.
    """
    ids = pipeline.tokenizer(text, add_special_tokens=False, truncation=True).input_ids
    table = pipeline.text_encoder.get_input_embeddings().weight.detach()
    return table[torch.tensor(ids, device=table.device)].float().mean(0)
