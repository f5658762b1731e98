"""Reading and checking scene folders."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from realfill.errors import UserError
from realfill.images.read import read_mask, read_photo
from realfill.scene import load_scene, load_truth
from tests.conftest import draw_photo
from tests.helpers import BAD_SCENES

ORIENTATION = 0x0112


def test_a_scene_is_read(scene_folder: Path) -> None:
    scene = load_scene(scene_folder)
    assert scene.name == "scene"
    assert list(scene.references) == ["0.png", "1.png"]
    assert scene.target.mode == "RGB"
    assert scene.mask.getcolors() == [(9200, 0), (1600, 255)]
    assert load_truth(scene_folder).getpixel((60, 50)) != (0, 0, 0)


def test_truth_may_be_missing(scene_folder: Path) -> None:
    (scene_folder / "target/gt.png").unlink()
    assert load_truth(scene_folder) is None


def test_many_references_of_any_format(scene_folder: Path) -> None:
    for index, suffix in enumerate(("jpg", "webp", "tiff", "bmp", "jpeg")):
        draw_photo(index + 9).save(scene_folder / "ref" / f"photo {index}.{suffix}")
    assert len(load_scene(scene_folder).references) == 7


def test_files_that_are_not_images_are_passed_over(
    scene_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in (".DS_Store", "Thumbs.db", "notes.txt", "scan.pdf", "._0.png"):
        (scene_folder / "ref" / name).write_bytes(b"\x00\x01 no image")
    assert list(load_scene(scene_folder).references) == ["0.png", "1.png"]
    said = capsys.readouterr().err.strip()
    assert len(said.splitlines()) == 1
    assert all(name in said for name in (".DS_Store", "Thumbs.db", "notes.txt", "._0.png"))


def test_an_image_without_suffix_is_read(scene_folder: Path) -> None:
    (scene_folder / "ref/0.png").rename(scene_folder / "ref/photo")
    assert list(load_scene(scene_folder).references) == ["1.png", "photo"]


def test_orientation_is_applied_to_target_and_mask_alike(scene_folder: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    for name in ("target", "mask"):
        path = scene_folder / "target" / f"{name}.png"
        with Image.open(path) as image:
            upright = image.copy()
        upright.rotate(90, expand=True).save(path, exif=exif)
    turned = load_scene(scene_folder)
    assert turned.target.size == (120, 90)
    assert turned.mask.getbbox() == (40, 30, 80, 70)


@pytest.mark.parametrize("suffix", ["heic", "avif"])
def test_a_phone_s_formats_are_read_upright(scene_folder: Path, suffix: str) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    assert list(load_scene(scene_folder).references) == ["0.png", "1.png"]  # knows the plug-in
    upright, path = draw_photo(0), scene_folder / "ref" / f"IMG_1.{suffix}"
    upright.rotate(90, expand=True).save(path, exif=exif.tobytes(), quality=95)
    read = load_scene(scene_folder).references[path.name]
    assert read.size == upright.size
    assert np.abs(np.asarray(read).astype(int) - np.asarray(upright)).mean() < 10


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    suffix = "tiff" if mode == "CMYK" else "png"
    path = tmp_path / f"image.{suffix}"
    white = Image.new("RGB", (64, 80), "white")
    white.paste((0, 0, 0), (0, 0, 64, 40))
    white.convert(mode).save(path)
    pixels = np.asarray(read_photo(path)).astype(int)
    assert pixels.shape == (80, 64, 3)
    assert pixels[:38].max() <= 2
    assert pixels[42:].min() >= 253


def test_sixteen_bits_are_scaled_not_cut_off(tmp_path: Path) -> None:
    levels = np.linspace(0, 65535, 64 * 64).reshape(64, 64)
    Image.fromarray(levels.astype(np.uint16)).save(tmp_path / "deep.png")
    pixels = np.asarray(read_photo(tmp_path / "deep.png"))[..., 0]
    assert np.abs(pixels - levels / 257).max() <= 0.51


def test_transparent_pixels_are_white_in_photos_and_known_in_masks(tmp_path: Path) -> None:
    image = Image.new("RGBA", (64, 64), (255, 255, 255, 0))
    image.paste((255, 255, 255, 255), (0, 0, 32, 64))
    image.save(tmp_path / "image.png")
    assert read_photo(tmp_path / "image.png").getcolors() == [(4096, (255, 255, 255))]
    assert read_mask(tmp_path / "image.png").getbbox() == (0, 0, 32, 64)


def test_the_mask_is_cut_at_127(tmp_path: Path) -> None:
    image = Image.new("L", (64, 64), 127)
    image.paste(128, (0, 0, 10, 64))
    image.save(tmp_path / "mask.png")
    assert read_mask(tmp_path / "mask.png").getcolors() == [(54 * 64, 0), (640, 255)]


@pytest.mark.parametrize("fault", BAD_SCENES)
def test_bad_scenes_are_refused(scene_folder: Path, fault: str) -> None:
    spoil, message = BAD_SCENES[fault]
    spoil(scene_folder)
    with pytest.raises(UserError, match=message):
        load_scene(scene_folder)


def test_a_missing_scene_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere: no such folder"):
        load_scene(tmp_path / "nowhere")


def test_a_decompression_bomb_is_refused(
    scene_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 120 * 90 // 2 - 1)
    with pytest.raises(UserError, match=r"0\.png: too many pixels"):
        load_scene(scene_folder)
