"""The decoder that sees the known pixels: what it is, its training, and completing with it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from realfill.images.blend import changed_mask
from realfill.model.base import load_base
from realfill.model.decoder import HarmonizingDecoder, load_decoder
from realfill.photo_training import loop
from realfill.photo_training.colour_shifts import shift_colours
from realfill.photo_training.decoder import pixel_weights, weighted_error
from realfill.photo_training.loop import OutOfTime, Plan, late_fall, train
from realfill.sampling.detail import keep_detail
from realfill.scene import load_scene
from tests.bases import make_base
from tests.conftest import RunScript, draw_photo
from tests.helpers import contents, infer_flags


def decoder_flags(photos: Path, base: Path, output: Path, steps: int = 3) -> list[object]:
    flags = ["--photos", photos, "--base", base, "--output_dir", output]
    return ["train_decoder.py", *flags, "--max_train_steps", steps, "--train_batch_size", 2]


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of photos."""
    folder = tmp_path_factory.mktemp("photos")
    for index in range(3):
        draw_photo(index).save(folder / f"{index}.png")
    return folder


@pytest.fixture(scope="session")
def decoder_folder(
    tmp_path_factory: pytest.TempPathFactory, photos: Path, base_folder: Path
) -> Path:
    """Return what the script left after three steps."""
    from realfill.commands.train_decoder import main

    folder = tmp_path_factory.mktemp("decoder")
    main([str(flag) for flag in decoder_flags(photos, base_folder, folder)[1:]])
    return folder


def random_inputs(pipeline: object) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    masks = torch.zeros(2, 1, 64, 48)
    masks[..., 20:40, 10:30] = 1
    return torch.randn(2, 4, 16, 12), torch.rand(2, 3, 64, 48) * 2 - 1, masks


def test_untrained_it_decodes_as_the_base_does(base_folder: Path) -> None:
    vae = load_base(str(base_folder), torch.float32).vae
    decoder = HarmonizingDecoder.from_autoencoder(vae)
    latents, photo, masks = random_inputs(vae)
    with torch.no_grad():
        own = vae.decode(latents).sample
        torch.testing.assert_close(decoder(latents, photo, masks), own, atol=1e-5, rtol=0)


def test_trained_it_looks_at_known_pixels_alone(decoder_folder: Path, base_folder: Path) -> None:
    pipeline = load_base(str(base_folder), torch.float32)
    decoder = load_decoder(decoder_folder, pipeline)
    latents, photo, masks = random_inputs(pipeline)
    with torch.no_grad():
        decoded = decoder(latents, photo, masks)
        assert torch.equal(decoder(latents, photo + masks, masks), decoded)
        assert not torch.equal(decoder(latents, photo * 0.5, masks), decoded)
        assert not torch.equal(pipeline.vae.decode(latents).sample, decoded)


def test_the_folder_is_small_and_complete(decoder_folder: Path) -> None:
    record = json.loads((decoder_folder / "realfill.json").read_text())
    assert record["script"] == "train_decoder.py"
    assert record["steps"] == 3
    there = {path.name for path in decoder_folder.iterdir()}
    assert there == {
        "config.json",
        "diffusion_pytorch_model.safetensors",
        "log.jsonl",
        "realfill.json",
    }


def test_the_same_command_again_changes_nothing(
    decoder_folder: Path, photos: Path, base_folder: Path, start: RunScript
) -> None:
    before = contents(decoder_folder)
    assert "trained already" in start(*decoder_flags(photos, base_folder, decoder_folder))
    assert contents(decoder_folder) == before


def test_what_cannot_be_trained_is_refused(
    decoder_folder: Path, photos: Path, base_folder: Path, tmp_path: Path, refuse: RunScript
) -> None:
    other = make_base(tmp_path, seed=1)
    assert "another base" in refuse(*decoder_flags(photos, other, decoder_folder))
    more = [*decoder_flags(photos, base_folder, decoder_folder), "--learning_rate", 1]
    assert "learning_rate" in refuse(*more)
    nowhere = decoder_flags(tmp_path / "none", base_folder, tmp_path / "new")
    assert "no such folder" in refuse(*nowhere)
    assert "--max_minutes" in refuse(*decoder_flags(photos, base_folder, tmp_path)[:-4])


def test_an_interrupted_training_goes_on_as_if_it_had_not_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(folder: str, deadline: float) -> list[Tensor]:
        torch.manual_seed(0)
        model = nn.Linear(3, 1)

        def draw_loss(step: int) -> Tensor:
            batch = torch.randn(4, 3, generator=torch.Generator().manual_seed(step))
            return model(batch).square().mean()

        trained = train(model, draw_loss, Plan(0.1, steps=6), tmp_path / folder, deadline)
        return list(trained.state_dict().values())

    expected = run("whole", float("inf"))
    for _ in range(5):  # one step a run
        with pytest.raises(OutOfTime):
            run("parts", 0.0)
    for one, other in zip(run("parts", 0.0), expected, strict=True):
        assert torch.equal(one, other)


def test_a_plan_ends_by_steps_or_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Plan(1.0, steps=1000, seconds=60, fall=late_fall)
    monkeypatch.setattr(loop, "WARM_UP", 1)
    assert plan.share_done(500, 6) == 0.5
    assert plan.share_done(100, 45) == 0.75
    assert plan.share_done(1000, 0) == plan.share_done(0, 60) == 1
    assert [plan.rate(*done) for done in ((0, 0), (600, 0), (10, 50), (10, 60))] == pytest.approx(
        [1, 1, 0.5, 0]
    )


def test_shifted_colours_are_colours_and_follow_the_seed() -> None:
    photos = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    shifted = [shift_colours(photos, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert shifted[0].abs().max() <= 1
    assert torch.equal(shifted[0], shifted[1])
    assert not torch.equal(shifted[0], shifted[2])
    changes = (shifted[0] - photos).mean((2, 3)).abs()
    assert changes.max() > 0.1, "some photos change much"


def test_errors_weigh_most_at_the_edge() -> None:
    masks = torch.zeros(2, 1, 96, 96)
    masks[..., 30:66, 30:66] = 1
    weights = pixel_weights(masks, torch.tensor([1.0, 0.0]).reshape(2, 1, 1, 1))
    edge, deep, known = weights[:, 0, 48, 30], weights[:, 0, 48, 48], weights[:, 0, 5, 5]
    assert (edge > 4 * known).all()
    assert edge[0] > deep[0] > known[0]
    assert deep[1] == known[1], "what has another content than the truth is left alone there"
    assert weighted_error(torch.zeros(2, 3, 96, 96), weights) == 0
    assert weighted_error(torch.ones(2, 3, 96, 96), weights) == pytest.approx(
        weights.mean().item(), rel=1e-4
    )


def complete_with(
    start: RunScript, base: Path, scene: Path, output: Path, decoder: object
) -> list[np.ndarray]:
    """Complete a scene with the script; return its pictures."""
    given = ("--decoder", decoder) if decoder else ()
    start("infer.py", *infer_flags(base, scene, output, "--geometry", "off", *given))
    return [np.asarray(Image.open(output / f"{index}.png")) for index in range(4)]


def test_completing_with_it_keeps_the_known_pixels(
    decoder_folder: Path, base_folder: Path, scene_folder: Path, tmp_path: Path, start: RunScript
) -> None:
    images = complete_with(start, base_folder, scene_folder, tmp_path / "with", decoder_folder)
    without = complete_with(start, base_folder, scene_folder, tmp_path / "without", None)
    scene = load_scene(scene_folder)
    known = np.asarray(changed_mask(scene.mask)) == 0
    for image, other in zip(images, without, strict=True):
        assert np.array_equal(image[known], np.asarray(scene.target)[known])
        assert not np.array_equal(image, other)
    settings = json.loads((tmp_path / "with" / "realfill.json").read_text())["settings"]
    assert len(settings.pop("decoder")) == 64
    same = json.loads((tmp_path / "without" / "realfill.json").read_text())["settings"]
    assert settings == same


def test_a_base_uses_its_own_unless_told_otherwise(
    decoder_folder: Path, base_folder: Path, scene_folder: Path, tmp_path: Path, start: RunScript
) -> None:
    shutil.copytree(base_folder, tmp_path / "base")
    shutil.copytree(decoder_folder, tmp_path / "base" / "decoder")
    expected = complete_with(start, base_folder, scene_folder, tmp_path / "a", decoder_folder)
    own = complete_with(start, tmp_path / "base", scene_folder, tmp_path / "b", None)
    assert np.array_equal(own, expected)
    none = complete_with(start, tmp_path / "base", scene_folder, tmp_path / "c", "none")
    plain = complete_with(start, base_folder, scene_folder, tmp_path / "d", None)
    assert np.array_equal(none, plain)


def test_a_decoder_that_does_not_fit_is_refused(
    decoder_folder: Path, base_folder: Path, scene_folder: Path, tmp_path: Path, refuse: RunScript
) -> None:
    output = tmp_path / "results"

    def refusal(base: Path, decoder: Path) -> str:
        flags = infer_flags(base, scene_folder, output, "--geometry", "off", "--decoder", decoder)
        return refuse("infer.py", *flags)

    other = make_base(tmp_path, seed=1)
    assert "another base" in refusal(other, decoder_folder)
    assert "no decoder" in refusal(base_folder, tmp_path / "nowhere")
    assert "no decoder" in refusal(base_folder, base_folder)
    damaged = tmp_path / "damaged"
    shutil.copytree(decoder_folder, damaged)
    weights = damaged / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert "cannot be loaded" in refusal(base_folder, damaged)
    assert not list(output.glob("*.png"))


def test_the_edge_is_the_decoders_and_the_detail_deep_inside_the_autoencoders() -> None:
    mask = torch.zeros(1, 1, 96, 96)
    mask[..., 16:80, 16:80] = 1
    detail = 0.2 * torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    plain, seen = detail + 0.7, torch.full_like(detail, 0.4)
    kept = keep_detail(plain, seen, mask, factor=4)
    assert torch.equal(kept[..., :16, :], seen[..., :16, :])
    torch.testing.assert_close(kept[..., 16:20, 16:80], seen[..., 16:20, 16:80])
    inner = np.s_[..., 28:68, 28:68]
    torch.testing.assert_close(kept[inner].mean(), torch.tensor(0.4), atol=0.01, rtol=0)
    pairs = torch.stack([(kept - kept.mean())[inner].flatten(), detail[inner].flatten()])
    assert torch.corrcoef(pairs)[0, 1] > 0.95
