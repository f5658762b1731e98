"""Making scenes of an archive and of photos; hostile input; what is there already."""

import shutil
import stat
import subprocess
import sys
import zipfile
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
import pytest
from PIL import Image

from realfill.commands import complete
from realfill.datasets import realbench
from realfill.datasets.holes import BOX_MARGIN, HOLES
from realfill.errors import UserError
from realfill.scene import load_scene, load_truth
from realfill.storage import contents
from tests.conftest import ROOT, RunScript, draw_photo, environment, write_scene

INSIDE = "realfill_data_release_full/RealBench"
PHOTO = (ROOT / "data/yard/target/gt.png").read_bytes()


def run_script(*arguments: object) -> tuple[int, str, str]:
    """Run the script as a user does; return its exit code and what it printed."""
    command = [sys.executable, "make_scenes.py", *map(str, arguments)]
    result = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert "Traceback" not in result.stderr
    return result.returncode, result.stdout, result.stderr


@pytest.fixture
def make(start: RunScript, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Return a function that runs the script here; it returns the exit code and the complaints."""

    def make_here(*arguments: object) -> tuple[int, str]:
        try:
            start("make_scenes.py", *arguments)
        except SystemExit as stopped:
            return stopped.code, capsys.readouterr().err
        return 0, ""

    return make_here


def write_archive(path: Path, numbers: tuple[int, ...] = (0, 2, 10)) -> Path:
    """Write an archive as RealBench is published, with what else lies about in such archives."""
    scene = write_scene(path.parent / "published")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in numbers:
            for file in sorted(scene.rglob("*.png")):
                archive.write(file, f"{INSIDE}/{number}/{file.relative_to(scene)}")
            archive.writestr(f"{INSIDE}/{number}/ref/", b"")
            archive.writestr(f"{INSIDE}/{number}/ref/.DS_Store", b"\0")
            archive.writestr(f"{INSIDE}/{number}/ref/notes.txt", b"no image")
        archive.writestr("__MACOSX/" + f"{INSIDE}/{numbers[0]}/ref/._0.png", b"\0")
        archive.writestr("realfill_data_release_full/Qualitative/0/ref/0.png", b"none")
        archive.writestr("../outside.png", b"none")
    return path


def write_photos(folder: Path, count: int = 4) -> Path:
    """Write photos of one place."""
    folder.mkdir(parents=True)
    for index in range(count):
        draw_photo(index).save(folder / f"p{index}.jpg")
    return folder


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def test_the_archive_becomes_scenes_byte_for_byte(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "realbench.zip")
    output = tmp_path / "out"
    code, said, _ = run_script("realbench", "--from", archive, "--output", output)
    assert code == 0
    scenes = [output / "RealBench" / number for number in ("0", "2", "10")]
    assert said.splitlines()[:3] == list(map(str, scenes))
    assert names_in(output / "RealBench") == ["0", "10", "2"]
    assert names_in(output) == ["RealBench"] and not (tmp_path / "outside.png").exists()
    for scene in scenes:
        assert contents(scene) == contents(tmp_path / "published")
        assert load_scene(scene).target.size == load_truth(scene).size


def add(name: str, content: bytes = b"", mode: int = stat.S_IFREG | 0o644, **fields: int):
    """Return a function that adds a member to an archive."""

    def add_to(path: Path) -> None:
        member = zipfile.ZipInfo(f"{INSIDE}/2/{name}")
        member.external_attr = mode << 16
        for field, value in fields.items():
            setattr(member, field, value)
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(member, content)

    return add_to


def change_pixels(path: Path) -> None:
    """Damage the bytes of a stored photo of scene 2."""
    whole = path.read_bytes()
    at = whole.index(b"RealBench/2/target/gt.png") + 200
    path.write_bytes(whole[:at] + b"damage!!" + whole[at + 8 :])


HOSTILE: dict[str, tuple[Callable[[Path], None], str]] = {
    "slip": (add("ref/../../../../slip.png", PHOTO), "slip.png"),
    "backslashes": (add("ref/..\\..\\slip.png", PHOTO), "slip.png"),
    "link": (add("ref/link.png", PHOTO, stat.S_IFLNK | 0o777), "link.png"),
    "twice": (add("ref/0.png", PHOTO), "ref/0.png"),
    "no image": (add("ref/text.png", b"no image"), "RealBench/2/ref/text.png"),
    "unusual": (add("ref/9.png", PHOTO, compress_type=zipfile.ZIP_LZMA), "9.png"),
    "long name": (add("ref/" + "n" * 300 + ".png", b"x"), "RealBench/2"),
    "two masks": (add("target/mask.jpg", b"x"), "mask.jpg"),
    "damaged": (change_pixels, "target/gt.png"),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("fault", HOSTILE)
def test_a_hostile_scene_is_named_and_the_others_are_made(
    tmp_path: Path, make: Callable[..., tuple[int, str]], fault: str
) -> None:
    spoil, named = HOSTILE[fault]
    spoil(write_archive(tmp_path / "realbench.zip"))
    before = names_in(tmp_path)
    code, said = make("realbench", "--from", tmp_path / "realbench.zip", "--output", tmp_path / "o")
    assert code == 3
    assert len(said.splitlines()) == 1 and named in said and ".partial" not in said
    assert names_in(tmp_path / "o" / "RealBench") == ["0", "10"]
    assert names_in(tmp_path) == sorted([*before, "o"]), "nothing outside"


@pytest.mark.parametrize(
    ("limit", "code"), [("MOST_BYTES", 2), ("MOST_FILES", 2), ("MOST_BYTES_A_FILE", 3)]
)
def test_a_bomb_is_not_unpacked(
    tmp_path: Path,
    make: Callable[..., tuple[int, str]],
    monkeypatch: pytest.MonkeyPatch,
    limit: str,
    code: int,
) -> None:
    archive = write_archive(tmp_path / "realbench.zip")
    add("ref/9.png", b"\0" * 2_000_000, compress_type=zipfile.ZIP_DEFLATED)(archive)
    monkeypatch.setattr(realbench, "MOST_BYTES", 1_900_000 if code == 3 else 2**33)
    monkeypatch.setattr(realbench, limit, {"MOST_FILES": 20}.get(limit, 1_000_000))
    assert make("realbench", "--from", archive, "--output", tmp_path / "out")[0] == code
    assert names_in(tmp_path / "out/RealBench") == (["0", "10"] if code == 3 else [])


def test_what_is_no_archive_is_refused(tmp_path: Path, refuse: RunScript) -> None:
    (tmp_path / "text.zip").write_text("no archive")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("scene/ref/0.png", b"none")
    for name in ("text.zip", "other.zip", "missing.zip"):
        flags = ("--from", tmp_path / name, "--output_dir", tmp_path / "out")
        assert name in refuse("make_scenes.py", "realbench", *flags)
    assert not (tmp_path / "out").exists()


def test_photos_become_a_benchmark(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "house")
    flags = ("photos", "--from", photos, "--holes", "boxes", "--references", 2)
    code, said, _ = run_script(*flags, "--seed", 7, "--output", tmp_path / "out")
    assert code == 0
    assert names_in(tmp_path / "out") == [f"house-p{index}" for index in range(4)]
    assert str(tmp_path / "out/house-p3") in said.splitlines()
    scene, truth = load_scene(tmp_path / "out/house-p3"), load_truth(tmp_path / "out/house-p3")
    assert list(scene.references) == ["p1.jpg", "p2.jpg"]
    assert (photos / "p1.jpg").read_bytes() == (tmp_path / "out/house-p3/ref/p1.jpg").read_bytes()
    with Image.open(photos / "p3.jpg") as photo:
        np.testing.assert_array_equal(truth, photo)
    hole = np.asarray(scene.mask) > 127
    assert not np.asarray(scene.target)[hole].any()
    np.testing.assert_array_equal(np.asarray(scene.target)[~hole], np.asarray(truth)[~hole])
    flags = {"scene": tmp_path / "out/house-p3", "validation_image": None, "validation_mask": None}
    assert complete.read_photos(Namespace(**flags))[0].digest() == scene.digest()


def test_the_same_seed_gives_the_same_bytes_and_another_is_refused(
    tmp_path: Path, make: Callable[..., tuple[int, str]]
) -> None:
    flags = ["photos", "--from", write_photos(tmp_path / "house"), "--holes", "border"]
    first, second = tmp_path / "first", tmp_path / "second"
    for output in (first, second):
        assert make(*flags, "--seed", 1, "--output_dir", output)[0] == 0
    made = contents(first)
    assert len(made) == 4 * (3 + 3) and contents(second) == made

    shutil.rmtree(first / "house-p0")
    (first / ".house-p0.abcd.partial").mkdir()  # as a killed run leaves it
    assert make(*flags, "--seed", 1, "--output_dir", first)[0] == 0
    assert contents(first) == made and len(names_in(first)) == 4

    shutil.rmtree(first / "house-p0")
    code, said = make(*flags, "--seed", 2, "--output_dir", first)
    assert code == 3 and len(said.splitlines()) == 3
    now = contents(first)
    assert all(now[name] == made[name] for name in made if not name.startswith("house-p0/"))
    assert now["house-p0/target/mask.png"] != made["house-p0/target/mask.png"]


def test_masks_by_name_make_scenes_without_truth(
    tmp_path: Path, make: Callable[..., tuple[int, str]]
) -> None:
    photos = write_photos(tmp_path / "house", 5)
    mask = Image.new("L", (120, 90), 0)
    mask.paste(255, (10, 20, 50, 60))
    for name in ("p1", "p3"):
        mask.save(photos / f"{name}_mask.png")
    flags = ("photos", "--from", photos, "--mask", "{}_mask.png", "--output_dir")
    assert make(*flags, tmp_path / "out")[0] == 0
    assert names_in(tmp_path / "out") == ["house-p1", "house-p3"]
    scene = load_scene(tmp_path / "out/house-p3")
    assert list(scene.references) == ["p0.jpg", "p2.jpg", "p4.jpg"], "neither masked nor masks"
    assert scene.mask.getbbox() == (10, 20, 50, 60)
    assert load_truth(tmp_path / "out/house-p3") is None

    (photos / "p1.jpg").unlink()
    Image.new("L", (50, 90), 255).save(photos / "p4_mask.png")
    code, said = make(*flags, tmp_path / "again")
    assert code == 3 and names_in(tmp_path / "again") == ["house-p3"]
    assert [("p1_mask" in line, "p4_mask" in line) for line in said.splitlines()] == [
        (True, False),
        (False, True),
    ]


def test_the_mask_follows_a_turned_photo(
    tmp_path: Path, make: Callable[..., tuple[int, str]]
) -> None:
    photos = write_photos(tmp_path / "house", 2)
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = draw_photo(9, 90, 120)
    upright.rotate(90, expand=True).save(photos / "turned.png", exif=exif)
    mask = Image.new("L", (90, 120), 0)
    mask.paste(255, (10, 70, 30, 110))
    (tmp_path / "masks").mkdir()
    mask.save(tmp_path / "masks/turned.png")
    flags = ("photos", "--from", photos, "--output_dir")
    assert make(*flags, tmp_path / "masked", "--mask", "../masks/{}.png")[0] == 0
    scene = load_scene(tmp_path / "masked/house-turned")
    assert scene.mask.getbbox() == (10, 70, 30, 110)
    np.testing.assert_array_equal(scene.target, upright)
    assert make(*flags, tmp_path / "drawn", "--holes", "boxes")[0] == 0
    assert load_scene(tmp_path / "drawn/house-turned").mask.size == (90, 120)
    np.testing.assert_array_equal(load_truth(tmp_path / "drawn/house-turned"), upright)


def test_a_bad_photo_is_left_out_of_targets_and_references(
    tmp_path: Path, make: Callable[..., tuple[int, str]]
) -> None:
    places = tmp_path / "places"
    photos = write_photos(places / "house")
    write_photos(places / "alone", 1)
    (places / "empty").mkdir()
    (photos / "p1.jpg").write_bytes((photos / "p1.jpg").read_bytes()[:900])
    shutil.copy(photos / "p2.jpg", photos / "p2 (copy).jpg")
    (photos / "gone.jpg").symlink_to(tmp_path / "gone.jpg")
    (photos / "Thumbs.db").write_bytes(b"\0")
    flags = ("photos", "--from", places, "--holes", "boxes", "--output_dir", tmp_path / "out")
    code, said = make(*flags)
    assert code == 3
    assert names_in(tmp_path / "out") == ["house-p0", "house-p2 (copy)", "house-p3"]
    assert names_in(tmp_path / "out/house-p3/ref") == ["p0.jpg", "p2 (copy).jpg"]
    for named in ("p1.jpg", "p2.jpg", "gone.jpg", "Thumbs.db", "alone", "empty"):
        assert named in said
    assert list(load_scene(tmp_path / "out/house-p0").references) == ["p2 (copy).jpg", "p3.jpg"]


def test_a_folder_in_the_way_stays(tmp_path: Path, make: Callable[..., tuple[int, str]]) -> None:
    (tmp_path / "out/house-p0").mkdir(parents=True)
    (tmp_path / "out/house-p1").write_text("mine")
    (tmp_path / "out/house-p2").symlink_to(tmp_path / "nowhere")
    photos = write_photos(tmp_path / "house")
    code, said = make("photos", "--from", photos, "--holes", "boxes", "--output", tmp_path / "out")
    assert code == 3 and len(said.splitlines()) == 3
    assert names_in(tmp_path / "out/house-p0") == []
    assert (tmp_path / "out/house-p1").read_text() == "mine"
    assert (tmp_path / "out/house-p2").is_symlink() and not (tmp_path / "nowhere").exists()
    assert load_scene(tmp_path / "out/house-p3")


@pytest.mark.parametrize(
    "flags",
    [
        [],
        ["--holes", "boxes", "--mask", "{}_mask.png"],
        ["--mask", "mask.png"],
        ["--mask", "{}/{}.png"],
        ["--holes", "circles"],
        ["--holes", "boxes", "--references", "0"],
        ["--holes", "boxes", "--output_dir", "{photos}/scenes"],
        ["--mask", "{}_no_such_mask.png"],
    ],
)
def test_flags_that_make_no_scenes(tmp_path: Path, refuse: RunScript, flags: list[str]) -> None:
    photos = write_photos(tmp_path / "house", 2)
    flags = [flag.replace("{photos}", str(photos)) for flag in flags]
    common = ("photos", "--from", photos, "--output_dir", tmp_path / "out")
    refuse("make_scenes.py", *common, *flags)
    assert not (tmp_path / "out").exists() and len(names_in(photos)) == 2


@pytest.mark.parametrize("size", [(64, 64), (640, 96), (333, 1000)])
def test_holes_leave_something_and_hide_something(size: tuple[int, int]) -> None:
    width, height = size
    for seed in range(200):
        left, upper, right, lower = HOLES["boxes"](size, Random(seed)).getbbox()
        assert left >= int(BOX_MARGIN * width) and upper >= int(BOX_MARGIN * height)
        assert right <= width - int(BOX_MARGIN * width)
        assert lower <= height - int(BOX_MARGIN * height)
        known = np.asarray(HOLES["border"](size, Random(seed))) == 0
        assert 0.24 < known.mean() < 0.66


def test_a_recipe_that_fails_leaves_nothing(tmp_path: Path) -> None:
    from realfill.datasets.write import write_scenes

    def half(folder: Path) -> None:
        (folder / "ref").mkdir()
        raise UserError("half done")

    assert write_scenes(tmp_path, {"scene": half}) == ["half done"]
    assert names_in(tmp_path) == []
