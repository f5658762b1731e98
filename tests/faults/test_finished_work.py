"""Finished work is neither replaced nor taken for what it is not."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import refill
from realfill.commands import complete
from realfill.errors import UserError
from realfill.model.load import load_adapted
from realfill.record import LORA_FILE, RECORD_FILE, Record, TrainingRecord, claim, refuse_scene
from realfill.sampling import sampler
from realfill.sampling.folder import claim_completions, missing_completions
from realfill.seeds import choose_seed
from tests.bases import make_base
from tests.conftest import RunScript, draw_photo, train_flags, write_scene
from tests.helpers import contents, infer_flags, write_completions


@pytest.fixture
def model(trained: tuple[Path, Path], tmp_path: Path) -> Path:
    """Return a trained folder that the test may spoil."""
    return Path(shutil.copytree(trained[1], tmp_path / "model"))


def sample(model: Path, scene: Path, output: Path, *more: object) -> None:
    complete.main(infer_flags(model, scene, output, "--geometry", "off", "--num_images", 2, *more))


@pytest.mark.parametrize("place", ["", "ref", "target", "ref/below"])
def test_completions_never_go_into_a_scene(scene_folder: Path, place: str) -> None:
    for scene in (scene_folder, None):
        with pytest.raises(UserError, match="belongs to"):
            refuse_scene(scene_folder / place, scene)
    refuse_scene(scene_folder / "results", scene_folder)


def test_nor_among_photos_that_are_linked_into_a_scene(scene_folder: Path, tmp_path: Path) -> None:
    (scene_folder / "ref").rename(tmp_path / "photos")
    (scene_folder / "ref").symlink_to(tmp_path / "photos")
    with pytest.raises(UserError, match="belongs to"):
        refuse_scene(tmp_path / "photos", scene_folder)


def test_completions_never_go_into_a_model_s_folder(
    model: Path, trained: tuple[Path, Path], refuse: RunScript
) -> None:
    before = contents(model)
    for folder in (model, model / "checkpoint-2"):
        flags = infer_flags(model, trained[0], folder, "--overwrite")
        assert "holds a model" in refuse("infer.py", *flags)
    assert contents(model) == before


def test_a_training_never_goes_into_completions_or_a_scene(
    scene_folder: Path, base_folder: Path, tmp_path: Path, refuse: RunScript
) -> None:
    results = tmp_path / "results"
    results.mkdir()
    (results / RECORD_FILE).write_text('{"script": "infer.py", "files": ["0.png"]}')
    before = contents(tmp_path)
    assert "infer.py made" in refuse(*train_flags(scene_folder, base_folder, results))
    assert "belongs to" in refuse(*train_flags(scene_folder, base_folder, scene_folder / "ref"))
    assert contents(tmp_path) == before


def test_files_of_others_are_never_replaced(tmp_path: Path) -> None:
    assert claim(tmp_path, "infer.py", ["0.png"]) == ["0.png"]
    (tmp_path / "0.png").touch()
    with pytest.raises(UserError, match=r"0\.png: was not made by infer\.py"):
        claim(tmp_path, "infer.py", ["0.png"])
    (tmp_path / RECORD_FILE).write_text('{"script": "infer.py", "files": ["0.png"]}')
    (tmp_path / "1.png").touch()
    assert claim(tmp_path, "infer.py", ["0.png", "2.png"]) == ["0.png", "2.png"]
    with pytest.raises(UserError, match=r"1\.png"):
        claim(tmp_path, "infer.py", ["0.png", "1.png"])


def test_merging_never_replaces_a_base(
    scene_folder: Path, base_folder: Path, tmp_path: Path, refuse: RunScript
) -> None:
    base = Path(shutil.copytree(base_folder, tmp_path / "base"))
    before = contents(base)
    complaint = refuse(*train_flags(scene_folder, base, base), "--save_merged")
    assert "was not made by" in complaint
    assert contents(base) == before


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("out of memory"), KeyboardInterrupt()])
def test_an_overwriting_run_that_breaks_off_loses_nothing(
    trained: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error
) -> None:
    scene, model = trained
    sample(model, scene, tmp_path / "out")
    before = contents(tmp_path / "out")
    decode, calls = sampler.blend, []

    def break_off(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise error
        return decode(*arguments)

    monkeypatch.setattr(sampler, "blend", break_off)
    with pytest.raises((RuntimeError, KeyboardInterrupt)):
        sample(model, scene, tmp_path / "out", "--seed", 9, "--overwrite")
    left = contents(tmp_path / "out")
    assert {path: left[path] for path in before} == before
    monkeypatch.setattr(sampler, "blend", decode)
    sample(model, scene, tmp_path / "out", "--seed", 9, "--overwrite", "--num_images", 1)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    left = {"0.png", "contact_sheet.png", "provenance.png", RECORD_FILE}
    assert names == left, "1.png is of another seed"


def test_going_on_from_another_folder_or_scene_or_to_fewer_steps_is_refused(
    model: Path, trained: tuple[Path, Path], base_folder: Path, tmp_path: Path, refuse: RunScript
) -> None:
    other = Path(shutil.copytree(model, tmp_path / "other"))
    before = contents(other)
    flags = train_flags(trained[0], base_folder, other)
    flags += ["--unet_learning_rate", 0.05, "--checkpointing_steps", 2]
    resume = "--resume_from_checkpoint"
    assert "of another folder" in refuse(*flags, resume, model / "checkpoint-2")
    fewer = [3 if flag == 4 else flag for flag in flags]
    assert "has 4 steps" in refuse(*fewer, resume, "latest")
    shutil.rmtree(other / "checkpoint-2")
    shutil.rmtree(other / "checkpoint-4")
    (tmp_path / "another").mkdir()
    flags[flags.index(trained[0])] = write_scene(tmp_path / "another/scene")
    draw_photo(77).save(tmp_path / "another/scene/ref/0.png")
    assert "another training" in refuse(*flags, resume, "latest")
    assert contents(other) == {path: it for path, it in before.items() if path.exists()}


def spoil_lora(folder: Path, how: str) -> None:
    path = folder / LORA_FILE
    tensors, content = load_file(path), bytearray(path.read_bytes())
    if how == "flipped":
        content[-3] ^= 64
        path.write_bytes(content)
    elif how == "emptied":
        path.write_bytes(b"")
    elif how == "no tensors":
        save_file({}, path)
    elif how == "half renamed":
        names = sorted(tensors)[::2]
        save_file({f"x{n}" if n in names else n: tensor for n, tensor in tensors.items()}, path)
    elif how == "half gone":
        save_file({name: tensors[name] for name in sorted(tensors)[::2]}, path)
    else:
        next(iter(tensors.values()))[0, 0] = float("inf")
        save_file(tensors, path)


SPOILT = ["flipped", "emptied", "no tensors", "half renamed", "half gone", "not finite"]


@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize("how", SPOILT)
def test_a_spoilt_lora_file_never_samples(model: Path, how: str, recorded: bool) -> None:
    spoil_lora(model, how)
    record = json.loads((model / RECORD_FILE).read_text())
    if not recorded:  # as an earlier release wrote it
        del record["lora_sha256"]
        if how == "flipped":
            pytest.skip("a number that is another one shows in the hash alone")
        (model / RECORD_FILE).write_text(json.dumps(record))
    with pytest.raises(UserError, match=LORA_FILE):
        load_adapted(str(model), torch.float32)


def test_an_emptied_lora_file_is_not_trained_already(
    model: Path, trained: tuple[Path, Path], base_folder: Path, start: RunScript
) -> None:
    whole = load_file(model / LORA_FILE)
    (model / LORA_FILE).write_bytes(b"")
    flags = train_flags(trained[0], base_folder, model)
    flags += ["--unet_learning_rate", 0.05, "--checkpointing_steps", 2]
    printed = start(*flags, "--resume_from_checkpoint", "latest")
    assert "going on from" in printed
    assert load_file(model / LORA_FILE).keys() == whole.keys()
    assert "trained already" in start(*flags, "--resume_from_checkpoint", "latest")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_another_base_than_the_recorded_one_is_refused(
    model: Path, tmp_path: Path, dtype: torch.dtype
) -> None:
    load_adapted(str(model), dtype)
    with pytest.raises(UserError, match="another base"):
        load_adapted(str(model), dtype, str(make_base(tmp_path / "other", seed=3)))
    base = Path(shutil.copytree(TrainingRecord.read(model).base_folder, tmp_path / "changed"))
    load_adapted(str(model), dtype, str(base))
    weights = base / "vae/diffusion_pytorch_model.safetensors"
    save_file({name: it * 1.1 for name, it in load_file(weights).items()}, weights)
    with pytest.raises(UserError, match="has changed"):
        load_adapted(str(model), dtype, str(base))


def test_weights_that_are_not_finite_are_not_saved(
    scene_folder: Path, base_folder: Path, tmp_path: Path, refuse: RunScript
) -> None:
    flags = train_flags(scene_folder, base_folder, tmp_path / "out", 1)
    assert "no longer finite" in refuse(*flags, "--unet_learning_rate", 1e38)
    assert not (tmp_path / "out" / LORA_FILE).exists()


def test_images_that_are_not_finite_are_not_written(
    base_folder: Path, scene_folder: Path, tmp_path: Path
) -> None:
    base = Path(shutil.copytree(base_folder, tmp_path / "base"))
    weights = base / "vae/diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    tensors["decoder.conv_out.bias"][:] = torch.nan
    save_file(tensors, weights, {"format": "pt"})
    with pytest.raises(UserError, match="not finite"):
        sample(base, scene_folder, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.png"))


def test_a_record_without_completions_holds_nobody_up(tmp_path: Path) -> None:
    record = {"script": "infer.py", "files": ["0.png"], "settings": {"resolution": 512}}
    (tmp_path / RECORD_FILE).write_text(json.dumps(record))
    assert missing_completions(tmp_path, 2, {"resolution": 256}, False) == [0, 1]
    draw_photo(0).save(tmp_path / "0.png")
    with pytest.raises(UserError, match="another resolution"):
        missing_completions(tmp_path, 2, {"resolution": 256}, False)
    assert missing_completions(tmp_path, 2, {"resolution": 512}, False) == [1]
    assert missing_completions(tmp_path, 2, {"resolution": 512, "decoder": None}, False) == [1]


def test_completions_made_with_more_are_not_mixed_with_those_made_without(tmp_path: Path) -> None:
    record = {"script": "infer.py", "files": ["0.png"], "settings": {"decoder": "1", "seed": 0}}
    (tmp_path / RECORD_FILE).write_text(json.dumps(record))
    draw_photo(0).save(tmp_path / "0.png")
    assert missing_completions(tmp_path, 2, {"decoder": "1", "seed": 0}, False) == [1]
    with pytest.raises(UserError, match="another decoder"):
        missing_completions(tmp_path, 2, {"seed": 0}, False)


def test_an_empty_completion_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / RECORD_FILE).write_text('{"script": "infer.py", "files": ["0.png"]}')
    (tmp_path / "0.png").touch()
    assert missing_completions(tmp_path, 1, {}, False) == [0]
    assert claim_completions(tmp_path, 1, None)[0] == "0.png"


def test_a_record_without_a_seed_gives_a_new_one() -> None:
    """`--geometry only` writes none, and `auto` may come next."""
    assert choose_seed(None, Record(settings={"geometry": "only"}).seed) >= 0


def test_a_ranking_replaces_nothing_but_rankings(
    scene_folder: Path, tmp_path: Path, refuse: RunScript, start: RunScript
) -> None:
    results = write_completions(tmp_path / "results", scene_folder)
    flags = ("loftr_ranking.py", "--source_dir", results, "--scene", scene_folder, "--rank_only")
    flags += ("--matcher", "sift", "--ranking_output_file")
    (results / RECORD_FILE).write_text("{}")
    for name in ("0.png", RECORD_FILE, "../x.json"):
        refuse(*flags, name)
    (results / "ranking.png").write_bytes(b"the user's")
    assert "ranking.png" in refuse(*flags, "scores.json")
    (results / "ranking.png").unlink()
    for _ in range(2):
        start(*flags, "scores.json")
    (results / "1.png").write_bytes(b"")
    with pytest.raises(SystemExit) as stopped:
        start(*flags, "scores.json")
    assert stopped.value.code == 3
    assert len(json.loads((results / "scores.json").read_text())["ranking"]) == 2
    assert np.isfinite(json.loads((results / "scores.json").read_text())["ranking"][0]["score"])


def test_a_scene_that_round_two_rests_on_is_not_grown_otherwise(
    scene_folder: Path, tmp_path: Path
) -> None:
    """Grown from the same again, it stays; from others or with another count, it is refused."""
    made, grown = tmp_path / "made", tmp_path / "round-2/scene"
    made.mkdir()
    ranked = [made / f"{index}.png" for index in range(3)]
    for index, path in enumerate(ranked):
        draw_photo(10 + index).save(path)
    refill.grow_scene(scene_folder, ranked, grown, 4)
    before = contents(grown)
    assert len(list((grown / "ref").iterdir())) == 4
    refill.grow_scene(scene_folder, ranked, grown, 4)
    for other, count in ((ranked, 3), (ranked[::-1], 4)):
        with pytest.raises(UserError, match="round two rests on it"):
            refill.grow_scene(scene_folder, other, grown, count)
    assert contents(grown) == before
    assert list(grown.parent.iterdir()) == [grown], "nothing half-written is left"
