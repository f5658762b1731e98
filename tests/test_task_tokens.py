"""Task tokens: reading them, learning them, and what stock diffusers makes of them."""

import json
import sys
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionInpaintPipeline
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel

from realfill.canvas.tokens import PUBLISHED, TOKEN, TOKENS_FILE, add_tokens, read_tokens
from realfill.commands.tokens import main
from realfill.errors import UserError
from realfill.model.base import load_base
from realfill.model.integrity import fingerprint
from tests.conftest import ROOT, environment, run_script
from tests.helpers import LORA

CPU = torch.device("cpu")
WIDTH = 1024
REAL = ROOT.parent / "shared" / "leftrefill" / "epoch=7-step=6039.ckpt"


def write_published(path: Path, count: int = 50) -> torch.Tensor:
    """Write a checkpoint of the form of LeftRefill's trainer and return its vectors."""
    vectors = 0.01 * torch.randn(count, WIDTH, generator=torch.Generator().manual_seed(3))
    state = {"step": torch.tensor(4.0), "exp_avg": torch.zeros_like(vectors)}
    content = {
        "epoch": 8,
        "global_step": 6040,
        "state_dict": {PUBLISHED: vectors},
        "callbacks": {"checkpoint": {"best_model_score": torch.tensor(0.1)}},
        "optimizer_states": [{"state": {0: state}, "param_groups": [{"lr": 3e-5}]}],
        "lr_schedulers": [],
    }
    torch.save(content, path)
    return vectors


def wide_pipeline(base: Path, layers: int) -> StableDiffusionInpaintPipeline:
    """Return the small base with a text encoder as wide and long as Stable Diffusion 2's.

    All but the vocabulary is its own with 23 layers. The tokenizer pads with token 0, as that one
    does.
    """
    pipeline = load_base(str(base), torch.float32)
    torch.manual_seed(0)
    tokenizer = pipeline.tokenizer
    tokenizer.model_max_length = 77
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(0)
    config = CLIPTextConfig(
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=layers,
        num_attention_heads=16,
        hidden_act="gelu",
        vocab_size=len(tokenizer),
        max_position_embeddings=77,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    pipeline.text_encoder = CLIPTextModel(config).eval()
    return pipeline


@torch.no_grad()
def plain_embedding(encoder: CLIPTextModel, ids: list[int], vectors: torch.Tensor) -> torch.Tensor:
    """Embed begin, `vectors`, end and padding by the layers' arithmetic alone.

    As LeftRefill does with the penultimate layer, after which the 23 layers of the base end.
    """
    weights = {name.removeprefix("text_model."): w for name, w in encoder.state_dict().items()}
    table = weights["embeddings.token_embedding.weight"]
    begin, end = ids[0], ids[1]
    padding = table[0].expand(77 - 2 - len(vectors), -1)
    x = torch.cat([table[begin][None], vectors, table[end][None], padding])
    x = x + weights["embeddings.position_embedding.weight"]

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        centred = x - x.mean(-1, keepdim=True)
        deviation = (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return centred / deviation * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def linear(x: torch.Tensor, name: str) -> torch.Tensor:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    ahead = torch.full((77, 77), -torch.inf).triu(1)
    for layer in range(encoder.config.num_hidden_layers):
        name = f"encoder.layers.{layer}"
        y = norm(x, f"{name}.layer_norm1")
        heads = [
            linear(y, f"{name}.self_attn.{part}_proj").unflatten(-1, (16, -1)).transpose(0, 1)
            for part in "qkv"
        ]
        weight = (heads[0] @ heads[1].transpose(1, 2) / 64**0.5 + ahead).softmax(-1)
        x = x + linear((weight @ heads[2]).transpose(0, 1).flatten(1), f"{name}.self_attn.out_proj")
        y = linear(norm(x, f"{name}.layer_norm2"), f"{name}.mlp.fc1")
        y = y * 0.5 * (1 + torch.erf(y / 2**0.5))
        x = x + linear(y, f"{name}.mlp.fc2")
    return norm(x, "final_layer_norm")


@pytest.mark.parametrize(
    ("given", "layers"),
    [("same form", 2), ("published", 2), pytest.param("published", 23, marks=pytest.mark.slow)],
)
def test_leftrefills_tokens_are_embedded_as_it_does(
    given: str, layers: int, base_folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "tokens.ckpt"
    if given == "published":
        if not REAL.is_file():
            pytest.skip("LeftRefill's checkpoint is not beside the project")
        path = REAL
    else:
        write_published(path)
    content = torch.load(path, map_location="cpu", weights_only=True)
    vectors = content["state_dict"][PUBLISHED]
    assert torch.equal(read_tokens(path), vectors)
    pipeline = wide_pipeline(base_folder, layers)
    prompt = add_tokens(pipeline, read_tokens(path), str(path))
    embedded, _ = pipeline.encode_prompt(prompt, CPU, 1, False)
    ids = [pipeline.tokenizer.bos_token_id, pipeline.tokenizer.eos_token_id]
    expected = plain_embedding(pipeline.text_encoder, ids, vectors)
    assert (embedded[0] - expected).abs().max() < 1e-5
    assert embedded.shape == (1, 77, WIDTH)


def test_files_that_hold_no_task_tokens(base_folder: Path, tmp_path: Path) -> None:
    def refused(path: Path) -> str:
        with pytest.raises(UserError) as caught:
            add_tokens(load_base(str(base_folder), torch.float32), read_tokens(path), str(path))
        return str(caught.value)

    (tmp_path / "text.ckpt").write_text("no tokens")
    write_published(tmp_path / "wide.ckpt")
    torch.save(Path("code"), tmp_path / "code.ckpt")
    save_file({"a": torch.zeros(2, 64), "b": torch.zeros(2)}, tmp_path / "two.safetensors")
    save_file({"a": torch.zeros(31, 64)}, tmp_path / "long.safetensors")
    save_file({"a": torch.full((2, 64), torch.nan)}, tmp_path / "nan.safetensors")
    for name, said in {
        "text.ckpt": "damaged",
        "code.ckpt": "damaged",
        "wide.ckpt": "1024 channels",
        "two.safetensors": "holds 2 tensors",
        "long.safetensors": "31 vectors",
        "nan.safetensors": "not finite",
    }.items():
        assert said in refused(tmp_path / name)
        assert name in refused(tmp_path / name)


def flags(task: str, photos: Path, base: Path, output: Path, *more: object) -> list[str]:
    given = ("--task", task, "--train_data_dir", photos, "--base", base, "--output_dir", output)
    few = ("--max_train_steps", 50, "--train_batch_size", 1, "--gradient_accumulation_steps", 1)
    quiet = ("--report_to", "none", "--seed", 3, "--mixed_precision", "no", "--vectors", 4)
    return [str(flag) for flag in (*given, *few, *quiet, "--resolution", 32, *more)]


@pytest.mark.parametrize("task", ["reference", "removal", "completion", "harmonization"])
def test_a_task_trains_and_stock_diffusers_reads_it(
    task: str, photos: Path, base_folder: Path, tmp_path: Path
) -> None:
    before = {path: path.read_bytes() for path in base_folder.rglob("*.safetensors")}
    objects = ("--object_masks", photos.parent / "objects")
    kept = ("--checkpointing_steps", 50)
    main(flags(task, photos, base_folder, tmp_path / "whole", *objects, *kept))
    assert before == {path: path.read_bytes() for path in base_folder.rglob("*.safetensors")}
    name = LORA if task == "harmonization" else TOKENS_FILE
    result = tmp_path / "whole" / name
    assert {path.name for path in (tmp_path / "whole").iterdir()} >= {name, "realfill.json"}
    trained = load_file(tmp_path / "whole" / "checkpoint-50" / "training.safetensors")
    parameters = {key for key in trained if not key.startswith("optimizer")}

    stopped = flags(task, photos, base_folder, tmp_path / "resumed", *objects)
    stopped += ["--checkpointing_steps", "20"]
    main([*stopped, "--max_train_steps", "20"])
    (tmp_path / "resumed" / name).unlink()
    main([*stopped, "--resume_from_checkpoint", "latest"])
    resumed = load_file(tmp_path / "resumed" / name)
    assert all(torch.equal(value, resumed[key]) for key, value in load_file(result).items())

    pipeline = load_base(str(base_folder), torch.float32)
    identity = json.loads((tmp_path / "whole" / "realfill.json").read_text())["identity"]
    assert identity["base"] == fingerprint(pipeline), "the base itself is not trained"
    if task == "harmonization":
        assert parameters and all(".lora_" in key for key in parameters)
        pipeline.load_lora_weights(tmp_path / "whole")
        assert pipeline.get_list_adapters()["unet"]
        return
    assert parameters == {"text_encoder.task_tokens"}
    vectors = load_file(result)[TOKEN]
    assert vectors.shape == (4, 64)
    assert len(vectors.unique(dim=0)) == 4, "they start from one mean and grow apart"
    plain, _ = pipeline.encode_prompt(TOKEN, CPU, 1, False)
    pipeline.load_textual_inversion(str(result))
    embedded, _ = pipeline.encode_prompt(TOKEN, CPU, 1, False)
    assert not torch.equal(plain, embedded)
    assert torch.equal(pipeline.text_encoder.get_input_embeddings().weight[-4:], vectors)


def test_the_trained_vectors_are_embedded_as_in_training(photos: Path, base_folder: Path) -> None:
    from realfill.canvas.learning import add_trainable_tokens
    from realfill.settings import TaskSettings
    from realfill.training.build import tokenize

    settings = TaskSettings(seed=0, resolution=32, mixed_precision="no", task="removal", vectors=5)
    training = load_base(str(base_folder), torch.float32)
    prompt = add_trainable_tokens(training, settings, CPU)
    vectors = torch.randn(5, 64, generator=torch.Generator().manual_seed(1))
    training.text_encoder.task_tokens.data.copy_(vectors)
    with torch.no_grad():
        seen = training.text_encoder(tokenize(training, [prompt]))[0]
    stock = load_base(str(base_folder), torch.float32)
    stock.load_textual_inversion({TOKEN: vectors})
    embedded, _ = stock.encode_prompt(TOKEN, CPU, 1, False)
    assert torch.equal(seen, embedded)


def test_a_run_is_not_written_over_and_bad_data_is_named(
    photos: Path, base_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    for wrong, said in ((tmp_path / "none", "none"), (tmp_path / "empty", "empty")):
        with pytest.raises(UserError, match=said):
            main(flags("removal", wrong, base_folder, tmp_path / "out"))
    with pytest.raises(UserError, match="says nothing of the objects"):
        more = ("--object_masks", tmp_path / "empty")
        main(flags("removal", photos, base_folder, tmp_path / "out", *more))
    with pytest.raises(UserError, match="--vectors 31"):
        main(flags("removal", photos, base_folder, tmp_path / "out", "--vectors", 31))
    once = flags("removal", photos, base_folder, tmp_path / "out", "--max_train_steps", 2)
    run_script([sys.executable, "train_task_tokens.py", *once], environment(), 100)
    with pytest.raises(UserError, match="holds a training run already"):
        main(once)
    before = (tmp_path / "out" / TOKENS_FILE).stat().st_mtime_ns
    main([*once, "--resume_from_checkpoint", "latest"])
    assert (tmp_path / "out" / TOKENS_FILE).stat().st_mtime_ns == before
