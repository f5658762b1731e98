"""The reconstruction prior: its features, its training, and completing with it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import ViTMAEForPreTraining

from realfill.model.base import load_base
from realfill.model.prior import load_prior, reconstruct
from realfill.scene import load_scene
from tests.bases import make_base, make_masked_autoencoder
from tests.conftest import RunScript, draw_photo
from tests.helpers import infer_flags


@pytest.fixture(scope="session")
def autoencoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small masked autoencoder with random weights."""
    return make_masked_autoencoder(tmp_path_factory.mktemp("autoencoder"))


def prior_flags(autoencoder: Path, base: Path, output: Path, steps: int = 2) -> list[object]:
    photos = output.parent / "photos"
    photos.mkdir(exist_ok=True)
    for index in range(3):
        draw_photo(index).save(photos / f"{index}.png")
    flags = ["--photos", photos, "--base", base, "--output_dir", output]
    flags += ["--autoencoder", autoencoder]
    return ["train_prior.py", *flags, "--max_train_steps", steps, "--train_batch_size", 2]


@pytest.fixture(scope="session")
def prior_folder(
    tmp_path_factory: pytest.TempPathFactory, autoencoder: Path, base_folder: Path
) -> Path:
    """Return what the script left after two steps."""
    from realfill.commands.train_prior import main

    folder = tmp_path_factory.mktemp("prior") / "prior"
    main([str(flag) for flag in prior_flags(autoencoder, base_folder, folder)[1:]])
    return folder


def load(folder: Path) -> ViTMAEForPreTraining:
    return ViTMAEForPreTraining.from_pretrained(folder).eval()


def test_the_features_are_those_of_the_sixth_block_for_the_known_patches(
    autoencoder: Path,
) -> None:
    """Against transformers' own forward pass, cut off after the block by taking the others out."""
    model, whole = load(autoencoder), load(autoencoder)
    photo = torch.rand(1, 3, 32, 32) * 2 - 1
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., 10:22, 3:6] = 1  # touches the second and the third patch of the first column
    features = reconstruct(model, photo, mask)
    assert features.shape == (1, 16, 16)
    whole.decoder.decoder_layers = whole.decoder.decoder_layers[:6]
    whole.decoder.decoder_norm = torch.nn.Identity()
    whole.decoder.decoder_pred = torch.nn.Identity()
    whole.config.mask_ratio = 2 / 16
    order = torch.zeros(1, 16)
    order[0, [4, 8]] = 1
    mean, deviation = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[..., None, None]
    pixels = ((photo + 1) / 2 - mean) / deviation
    with torch.no_grad():
        encoded = whole.vit(pixels, noise=order)
        expected = whole.decoder(encoded.last_hidden_state, encoded.ids_restore).logits
    assert encoded.mask.nonzero()[:, 1].tolist() == [4, 8]
    torch.testing.assert_close(features, expected)
    assert model.config.mask_ratio == 0.75, "it is as it was"


@pytest.mark.parametrize("hidden", [0, 7, 16])
def test_what_is_hidden_changes_nothing(autoencoder: Path, hidden: int) -> None:
    model = load(autoencoder)
    photos = torch.rand(2, 3, 32, 32) * 2 - 1
    masks = torch.zeros(2, 1, 32, 32)
    for patch in range(hidden):
        row, column = divmod(patch, 4)
        masks[:, :, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8] = 1
    features = reconstruct(model, photos, masks)
    other = reconstruct(model, photos * (1 - masks) + 0.3 * masks, masks)
    torch.testing.assert_close(features, other)
    if hidden < 16:
        assert not torch.allclose(features, reconstruct(model, photos * 0.5, masks))


def test_only_the_aligner_was_trained(
    prior_folder: Path, base_folder: Path, autoencoder: Path
) -> None:
    prior = load_prior(prior_folder, load_base(str(base_folder), torch.float32))
    embeddings = prior.embed(torch.zeros(1, 3, 64, 48), torch.ones(1, 1, 64, 48))
    assert embeddings.shape == (1, 16, 64)
    record = json.loads((prior_folder / "realfill.json").read_text())
    assert record["steps"] == 2
    assert record["settings"]["autoencoder"] == str(autoencoder)
    published = load(autoencoder).state_dict()
    now = prior.autoencoder.state_dict()
    assert all(torch.equal(now[name], published[name]) for name in published)


def test_completing_with_it_keeps_the_known_pixels(
    prior_folder: Path, base_folder: Path, scene_folder: Path, tmp_path: Path, start: RunScript
) -> None:
    images = []
    for name, given in (("with", ("--prior", prior_folder)), ("without", ())):
        flags = infer_flags(base_folder, scene_folder, tmp_path / name, "--geometry", "off")
        start("infer.py", *flags, *given)
        images.append(np.asarray(Image.open(tmp_path / name / "0.png")))
    assert not np.array_equal(*images)
    scene = load_scene(scene_folder)
    assert np.array_equal(images[0][0], np.asarray(scene.target)[0])
    settings = json.loads((tmp_path / "with" / "realfill.json").read_text())["settings"]
    assert len(settings["prior"]) == 64


def test_what_does_not_fit_is_refused(
    prior_folder: Path,
    base_folder: Path,
    autoencoder: Path,
    scene_folder: Path,
    tmp_path: Path,
    refuse: RunScript,
    start: RunScript,
) -> None:
    def refusal(base: Path, *given: object) -> str:
        flags = infer_flags(base, scene_folder, tmp_path / "results", "--geometry", "off")
        return refuse("infer.py", *flags, *given)

    other = make_base(tmp_path, seed=1)
    assert "another base" in refusal(other, "--prior", prior_folder)
    assert "no prior" in refusal(base_folder, "--prior", base_folder)
    assert "--prompt" in refusal(base_folder, "--prior", prior_folder, "--prompt", "a cat")
    flags = prior_flags(base_folder, base_folder, tmp_path / "new")
    assert "masked autoencoder" in refuse(*flags)
    again = start(*prior_flags(autoencoder, base_folder, prior_folder))
    assert "trained already" in again
