"""The text encoder: a byte-level CLIP whose weights are random and fixed.

The base has no captions to learn from; the text encoder is there so that prompts, their
dropping, and LoRA on the text encoder take the same path as in the real base.
"""

from pathlib import Path

import torch
from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from realfill.storage import write_json

WIDTH = 64
SPECIAL_TOKENS = ("<|startoftext|>", "<|endoftext|>")


def write_text_encoder(folder: Path) -> None:
    """Write `tokenizer/` and `text_encoder/` (fp16) into `folder`."""
    symbols = sorted(ByteLevel.alphabet())
    tokens = [*symbols, *(symbol + "</w>" for symbol in symbols), *SPECIAL_TOKENS]
    write_tokenizer(folder / "tokenizer", tokens)
    torch.manual_seed(0)
    config = CLIPTextConfig(
        vocab_size=len(tokens),
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=32,
        projection_dim=WIDTH,
        bos_token_id=len(tokens) - 2,
        eos_token_id=len(tokens) - 1,
        pad_token_id=len(tokens) - 1,
    )
    CLIPTextModel(config).half().save_pretrained(folder / "text_encoder")


def write_tokenizer(folder: Path, tokens: list[str]) -> None:
    """Write a CLIP tokenizer without merges: one token a byte."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "vocab.json", {token: i for i, token in enumerate(tokens)})
    (folder / "merges.txt").write_text("#version: 0.2\n")
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 32}
    start, end = SPECIAL_TOKENS
    specials = {"bos_token": start, "eos_token": end, "unk_token": end, "pad_token": end}
    write_json(folder / "tokenizer_config.json", settings | specials)
    write_json(folder / "special_tokens_map.json", specials)


def load_text_encoder(folder: Path) -> tuple[CLIPTokenizer, CLIPTextModel]:
    """Load what `write_text_encoder` wrote."""
    return (
        CLIPTokenizer.from_pretrained(folder / "tokenizer"),
        CLIPTextModel.from_pretrained(folder / "text_encoder"),
    )
