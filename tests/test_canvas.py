"""The reference canvas: its layout, its attention, and the completions from it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, StableDiffusionInpaintPipeline
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from PIL import Image
from safetensors.torch import save_file

from realfill.canvas.attention import CanvasAttention, attending
from realfill.canvas.bias import Bias, in_units
from realfill.canvas.layout import Canvas, lay_out
from realfill.canvas.references import Tied, choose_references
from realfill.canvas.tokens import TOKEN, add_tokens, read_tokens
from realfill.commands.complete import main
from realfill.completing.canvas_filler import sample_canvas
from realfill.errors import UserError
from realfill.images.blend import feather, resize, sampled_mask
from realfill.model.base import EMBEDDED_BASE, load_base
from realfill.scene import load_scene
from realfill.settings import SamplingSettings
from tests.conftest import draw_photo
from tests.helpers import infer_flags, write_flat_scene

FEW = SamplingSettings(64, num_inference_steps=3)


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a scene of photos of a flat picture, whose matches tie them."""
    return write_flat_scene(tmp_path_factory.mktemp("flat") / "scene")


@pytest.fixture
def pipeline(base_folder: Path) -> StableDiffusionInpaintPipeline:
    return load_base(str(base_folder), torch.float32)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file of five vectors for the small base."""
    path = tmp_path_factory.mktemp("tokens") / "learned_embeds.safetensors"
    save_file({TOKEN: torch.randn(5, 64, generator=torch.Generator().manual_seed(2))}, path)
    return path


def tied(*photos: Image.Image) -> list[Tied]:
    return [Tied(str(index), photo, 0, None) for index, photo in enumerate(photos)]


def test_the_layout_keeps_shapes_and_puts_the_photo_right() -> None:
    photo, mask = draw_photo(0, 160, 120), Image.new("L", (160, 120), 0)
    mask.paste(255, (60, 40, 100, 80))
    references = [draw_photo(1, 120, 160), draw_photo(2, 160, 80)]
    canvas = lay_out(photo, mask, references, 96, 8)
    assert canvas.size == (192 + 128, 96) and canvas.left == 192
    assert canvas.panels == [(120, 192), (0, 192)], "both 96 high; the narrow one ends at the photo"
    for view, reference, (first, last) in zip(canvas.views, references, canvas.panels, strict=True):
        assert canvas.photo_of(view).tobytes() == resize(photo, (128, 96)).tobytes()
        panel = view.crop((first, 0, last, 96))
        assert panel.tobytes() == resize(reference, panel.size).tobytes()
    assert not np.asarray(canvas.mask)[:, :192].any()
    right = canvas.photo_of(canvas.mask)
    assert right.tobytes() == sampled_mask(mask, (128, 96)).tobytes()


def test_a_canvas_is_sampled_as_stock_diffusers_does(
    base_folder: Path, tokens: Path, flat: Path
) -> None:
    scene = load_scene(flat)
    [reference] = choose_references(scene, 1)
    ours = load_base(str(base_folder), torch.float32)
    prompt = add_tokens(ours, read_tokens(tokens), str(tokens))
    settings = SamplingSettings(64, "ddpm", 4, guidance_scale=2.5, prompt=prompt)
    [(_, found)] = sample_canvas(ours, scene.target, scene.mask, [reference], [1], 6, settings)

    stock = StableDiffusionInpaintPipeline.from_pretrained(base_folder, dtype=torch.float32)
    stock.load_textual_inversion(str(tokens))
    stock.scheduler = DDPMScheduler.from_config(stock.scheduler.config)
    width = round(64 * 320 / 240 / 4) * 4
    left, right = (resize(photo, (width, 64)) for photo in (reference.photo, scene.target))
    canvas, mask = Image.new("RGB", (2 * width, 64)), Image.new("L", (2 * width, 64))
    canvas.paste(left, (0, 0))
    canvas.paste(right, (width, 0))
    mask.paste(sampled_mask(scene.mask, (width, 64)), (width, 0))
    expected = stock(
        prompt=TOKEN,
        image=canvas,
        mask_image=mask,
        width=2 * width,
        height=64,
        num_inference_steps=4,
        guidance_scale=2.5,
        generator=torch.Generator().manual_seed(7),
    ).images[0]
    assert found.tobytes() == expected.crop((width, 0, 2 * width, 64)).tobytes()


def test_copies_of_a_reference_are_one_reference() -> None:
    mask = Image.new("L", (120, 90), 0)
    mask.paste(255, (40, 30, 80, 70))
    photo, reference, other = (draw_photo(index) for index in range(3))
    pipeline = load_base(EMBEDDED_BASE, torch.float32)  # random weights attend to nothing

    def pixels(*references: Image.Image) -> np.ndarray:
        given = (
            pipeline,
            photo,
            mask,
            tied(*references),
            [0],
            3,
            SamplingSettings(48, num_inference_steps=2),
        )
        return np.stack([np.asarray(image).astype(int) for _, image in sample_canvas(*given)])

    once = pixels(reference)
    assert np.abs(pixels(reference, reference, reference) - once).max() <= 1
    assert np.abs(pixels(reference, other) - once).max() > 1, "the second view is attended to"


def test_joined_views_attend_to_each_other_and_to_no_other_image() -> None:
    torch.manual_seed(0)
    attention = Attention(16, heads=2, dim_head=8)
    hidden = torch.randn(6, 10, 16)
    found = CanvasAttention(3)(attention, hidden)
    plain = AttnProcessor2_0()
    expected = torch.cat(
        [plain(attention, hidden[k : k + 3].reshape(1, 30, 16)) for k in (0, 3)]
    ).reshape(6, 10, 16)
    assert torch.allclose(found, expected, atol=1e-6)
    text = torch.randn(6, 4, 16)
    crossed = CanvasAttention(3)(attention, hidden, text)
    assert torch.equal(crossed, plain(attention, hidden, text))


def planted(channels: int) -> Attention:
    """Return attention that finds nothing by itself and hands on what it is drawn to."""
    attention = Attention(channels, heads=1, dim_head=channels)
    with torch.no_grad():
        for layer in (attention.to_q, attention.to_k):
            layer.weight.zero_()
        for layer in (attention.to_v, attention.to_out[0]):
            layer.weight.copy_(torch.eye(channels))
        attention.to_out[0].bias.zero_()
    return attention


def make_bias(strength: float) -> Bias:
    """Return a bias for a canvas of two squares of 8 x 8 latents.

    The photo's pixels (x, y), of 400 x 400, are (x / 2, y / 2 + 25) in a reference of 200 x 200.
    """
    mask = Image.new("L", (64, 32), 0)
    mask.paste(255, (44, 12, 52, 20))
    canvas = Canvas([Image.new("RGB", (64, 32))], mask, [(0, 32)], 32)
    transform = np.array([[0.5, 0, 0], [0, 0.5, 25], [0, 0, 1.0]])
    return Bias(canvas, [in_units(transform, (400, 400), (200, 200))], strength, (8, 16))


def test_the_bias_moves_content_to_the_right_place() -> None:
    found = CanvasAttention(1, make_bias(50.0))(planted(128), torch.eye(128)[None])[0]
    found = found.unflatten(-1, (8, 16)).unflatten(0, (8, 16))
    for row, column in ((3, 11), (3, 12), (4, 11), (4, 12)):  # the hole
        place = divmod(int(found[row, column].argmax()), 16)
        assert place == (row + 1, column - 8)
    far = found[0, 8]
    assert torch.allclose(far, torch.full_like(far, 1 / 128)), "far from the hole nothing changes"


def test_no_bias_changes_no_bit(pipeline: StableDiffusionInpaintPipeline, flat: Path) -> None:
    scene = load_scene(flat)
    references = choose_references(scene, 1)
    assert references[0].transform is not None

    def pixels(strength: str) -> bytes:
        given = (pipeline, scene.target, scene.mask, references, [0], 3, FEW, strength)
        [(_, image)] = sample_canvas(*given)
        return image.tobytes()

    before = pipeline.unet.attn_processors
    with attending(pipeline.unet, 1, None):
        assert pipeline.unet.attn_processors == before
    off = pixels("off")
    assert pixels("weak") != off
    assert pipeline.unet.attn_processors == before, "the model is left as it was"
    assert pixels("off") == off


def test_references_are_chosen_by_their_matches(flat: Path, tmp_path: Path) -> None:
    scene = load_scene(flat)
    scene.references["a stranger"] = draw_photo(7, 320, 240)
    first, second, third = choose_references(scene, 3)
    assert {first.name, second.name} == {"0.png", "1.png"}
    assert first.matches >= second.matches > third.matches
    assert third.name == "a stranger" and third.transform is None
    # The transform takes what the photo shows to where the reference shows it.
    point = np.array([80.0, 60.0, 1]) @ first.transform.T
    x, y = (point[:2] / point[2]).round().astype(int)
    here = np.asarray(scene.target)[55:66, 75:86].mean((0, 1))
    there = np.asarray(first.photo)[y - 5 : y + 6, x - 5 : x + 6].mean((0, 1))
    assert np.abs(here - there).max() < 12
    scene.references.clear()
    with pytest.raises(UserError, match="references"):
        choose_references(scene, 1)


def test_infer_fills_on_the_canvas(
    base_folder: Path, scene_folder: Path, tokens: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    flags = ("--fill", "canvas", "--canvas_references", 2, "--canvas_bias", "weak")
    given = infer_flags(base_folder, scene_folder, out, *flags, "--task_tokens", tokens)
    main([*given, "--rank", "sift"])
    record = json.loads((out / "realfill.json").read_text())["settings"]
    assert record["fill"] == "canvas" and record["canvas_references"] == 2
    assert record["task_tokens"] and record["canvas_bias"] == "weak"
    scene = load_scene(scene_folder)
    known = np.asarray(feather(scene.mask)) == 0
    images = [np.asarray(Image.open(out / f"{index}.png")) for index in range(4)]
    for image in images:
        assert image.shape == np.asarray(scene.target).shape
        assert np.array_equal(image[known], np.asarray(scene.target)[known])
    assert len({image.tobytes() for image in images}) == 4
    assert (out / "best.png").is_file() and (out / "contact_sheet.png").is_file()
    with pytest.raises(UserError, match="--overwrite"):
        main([*given, "--canvas_bias", "off"])


@pytest.mark.parametrize(
    "flags",
    [
        ("--fill", "canvas"),
        ("--fill", "exemplar", "--task_tokens", "tokens.safetensors"),
        ("--fill", "canvas", "--model_path", "base", "--canvas_references", "0"),
    ],
)
def test_flags_that_do_not_fit(flags: tuple[str, ...], scene_folder: Path) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--scene", str(scene_folder), *flags])
    assert stopped.value.code == 2
