"""The app without a browser: its folders, its brush, and what it says of references."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from realfill.app import commands, verdicts, workspace
from realfill.app.painting import editor_value, painted, preview, separate
from realfill.errors import UserError
from realfill.geometry.views import View, view_by_homography
from realfill.images.blend import scale_mask
from realfill.scene import load_scene
from tests.conftest import draw_photo

ORIENTATION = 0x0112


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """Return an uploaded photo."""
    path = tmp_path / "upload" / "a photo.jpg"
    path.parent.mkdir()
    draw_photo(0).save(path)
    return path


def paint(size: tuple[int, int], box: tuple[int, int, int, int]) -> Image.Image:
    mask = Image.new("L", size)
    mask.paste(255, box)
    return mask


def test_what_is_dropped_and_painted_is_an_ordinary_scene(tmp_path: Path, photo: Path) -> None:
    space = tmp_path / "space"
    name = workspace.new_scene(space, photo)
    folder = workspace.scene_folder(space, name)
    assert (folder / "target/target.jpg").read_bytes() == photo.read_bytes()
    assert workspace.write_mask(space, name, paint((120, 90), (40, 30, 80, 70))) == name
    name, faults = workspace.add_references(space, name, [photo, photo.parent / "none.jpg"])
    assert len(faults) == 1
    scene = load_scene(folder)
    assert list(scene.references) == ["1.jpg"]
    assert scene.mask.getbbox() == (40, 30, 80, 70)
    assert workspace.list_scenes(space) == [name]


@pytest.mark.parametrize("kind", ["turned", "16 bits", "palette", "heic"])
def test_photos_of_all_kinds_keep_their_pixels(tmp_path: Path, kind: str) -> None:
    upright, path = draw_photo(3), tmp_path / "photo.png"
    expected = np.asarray(upright)
    if kind == "turned":
        exif = Image.Exif()
        exif[ORIENTATION] = 6
        upright.rotate(90, expand=True).save(path, exif=exif)
    elif kind == "16 bits":
        grey = np.asarray(upright.convert("L"))
        Image.fromarray(grey.astype(np.uint16) * 257).save(path)
        expected = np.stack([grey] * 3, -1)
    elif kind == "palette":
        seen = upright.quantize(64)
        seen.save(path, transparency=255)
        expected = np.asarray(seen.convert("RGB"))
    else:
        pytest.importorskip("pillow_heif").register_heif_opener()
        path = tmp_path / "photo.heic"
        upright.save(path, quality=-1)
    name = workspace.new_scene(tmp_path, path)
    kept = np.asarray(workspace.photo_of(tmp_path, name)).astype(int)
    assert np.abs(kept - expected).mean() <= (10 if kind == "heic" else 0)


def test_no_photo_makes_no_scene(tmp_path: Path) -> None:
    path = tmp_path / "notes.jpg"
    path.write_text("no photo")
    with pytest.raises(UserError, match="not an image"):
        workspace.new_scene(tmp_path, path)
    assert workspace.list_scenes(tmp_path) == []


def test_what_was_made_stays_what_it_was_made_of(tmp_path: Path, photo: Path) -> None:
    name = workspace.new_scene(tmp_path, photo)
    mask = paint((120, 90), (40, 30, 80, 70))
    workspace.write_mask(tmp_path, name, mask)
    made = workspace.result_folder(tmp_path, workspace.FILLED, name)
    made.mkdir(parents=True)
    assert workspace.write_mask(tmp_path, name, mask) == name, "nothing changed"
    other = workspace.write_mask(tmp_path, name, paint((120, 90), (10, 10, 30, 30)))
    assert other != name
    assert workspace.mask_of(tmp_path, name).getbbox() == (40, 30, 80, 70)
    assert workspace.mask_of(tmp_path, other).getbbox() == (10, 10, 30, 30)


def test_nothing_and_everything_painted_are_refused(tmp_path: Path, photo: Path) -> None:
    name = workspace.new_scene(tmp_path, photo)
    for box in ((0, 0, 0, 0), (0, 0, 120, 90)):
        with pytest.raises(UserError, match="paint"):
            workspace.write_mask(tmp_path, name, paint((120, 90), box))
    assert workspace.mask_of(tmp_path, name) is None


def test_the_canvas_is_extended_and_what_was_painted_stays(tmp_path: Path, photo: Path) -> None:
    name = workspace.new_scene(tmp_path, photo)
    workspace.write_mask(tmp_path, name, paint((120, 90), (40, 30, 80, 70)))
    before = np.asarray(workspace.photo_of(tmp_path, name))
    with pytest.raises(UserError, match="slider"):
        workspace.extend(tmp_path, name, (0, 0, 0, 0))
    workspace.extend(tmp_path, name, (10, 0, 20, 50))
    extended, mask = (
        np.asarray(part(tmp_path, name)) for part in (workspace.photo_of, workspace.mask_of)
    )
    assert extended.shape[:2] == mask.shape == (135, 156)
    assert np.array_equal(extended[:90, 12:132], before)
    known = mask[:90, 12:132]
    assert known[30:70, 40:80].min() == 255
    assert (mask == 0).sum() == 120 * 90 - 40 * 40


def test_painting_on_a_preview_masks_the_large_photo() -> None:
    large = Image.new("RGB", (6000, 4000), "grey")
    small = preview(large, workspace.PAINTED)
    assert max(small.size) == workspace.PAINTED
    stroke = paint(large.size, (600, 400, 1800, 1200))
    value = editor_value(large, stroke)
    again = scale_mask(painted(value, stroke), large.size)
    assert np.abs(np.array(again.getbbox()) - np.array((600, 400, 1800, 1200))).max() <= 5
    layer = Image.new("RGBA", small.size)
    layer.paste((255, 0, 0, 255), (0, 0, 40, 30))
    both = painted(value | {"layers": [layer]}, stroke)
    assert both.getbbox()[:2] == (0, 0)
    assert painted(value | {"layers": [layer]}, None).getbbox() == (0, 0, 40, 30)


def test_the_object_that_was_marked_is_found() -> None:
    photo = Image.effect_noise((300, 200), 12).convert("RGB")
    ImageDraw.Draw(photo).ellipse((100, 50, 200, 150), (200, 40, 30))
    hint = paint(photo.size, (130, 90, 170, 110))
    found = np.asarray(separate(photo, hint)) > 0
    truth = Image.new("L", photo.size)
    ImageDraw.Draw(truth).ellipse((100, 50, 200, 150), 255)
    truth = np.asarray(truth) > 0
    assert (found & truth).sum() / (found | truth).sum() > 0.9
    with pytest.raises(UserError, match="Nothing is marked"):
        separate(photo, Image.new("L", photo.size))


def test_what_is_said_of_a_reference(tmp_path: Path) -> None:
    hole = np.zeros((90, 120), bool)
    hole[30:70, 40:80] = True
    same = view_by_homography(np.eye(3), (120, 90), (120, 90))
    shifted = view_by_homography(np.array([[1, 0, 60], [0, 1, 0], [0, 0, 1]]), (120, 90), (120, 90))
    assert verdicts.share_seen(same, hole) == 1
    assert verdicts.share_seen(shifted, hole) == pytest.approx(0.5, abs=0.03)
    away = view_by_homography(np.array([[1, 0, 99], [0, 1, 0], [0, 0, 1]]), (120, 90), (120, 90))
    kinds = [verdicts.verdict(view, hole)[0] for view in (same, away, None)]
    assert kinds == ["tied", "beside", "apart"]
    assert verdicts.verdict(None, hole, is_spare=True)[0] == "beside"
    (tmp_path / "cameras.json").write_text(json.dumps({"views": {"1.jpg": same.record()}}))
    assert verdicts.read_views(tmp_path) == ({"1.jpg": same}, {}), "of an earlier release"
    assert View.from_record(json.loads(json.dumps(shifted.record()))) == shifted


def test_what_a_look_found_is_handed_over(tmp_path: Path, photo: Path) -> None:
    name = workspace.new_scene(tmp_path, photo)
    workspace.hand_over_geometry(tmp_path, workspace.FILLED, name)
    filled = workspace.result_folder(tmp_path, workspace.FILLED, name)
    assert not filled.exists(), "there is nothing to hand over"
    looked = workspace.result_folder(tmp_path, workspace.LOOKED, name)
    looked.mkdir(parents=True)
    for file in ("cameras.json", "realfill.json", "prefill.png", "0.png"):
        (looked / file).write_text(file)
    workspace.hand_over_geometry(tmp_path, workspace.FILLED, name)
    handed = sorted(path.name for path in filled.iterdir())
    assert handed == ["cameras.json", "prefill.png", "realfill.json"], "not what was made of it"
    (tmp_path / workspace.TRAINED).write_text("no folder")
    workspace.hand_over_geometry(tmp_path, workspace.TRAINED, name)  # what comes next will say so


def test_the_commands_are_those_of_the_scripts(tmp_path: Path) -> None:
    import complete_scenes
    from realfill.commands import complete

    look = commands.look(tmp_path, "one")
    assert look[0] == "infer.py"
    assert complete.parse_arguments(look[1:]).geometry == "only"
    for command in (
        commands.fill(tmp_path, "one"),
        commands.train(tmp_path, "one", "", 30, 2),
        commands.train(tmp_path, "one", "a folder", 30, 2),
    ):
        parser = complete_scenes.build_parser()
        plan = complete_scenes.make_plan(parser.parse_args(command[1:]), parser)
        assert plan.output_dir.parent == tmp_path
    assert plan.training.pretrained_model_name_or_path == "a folder"
