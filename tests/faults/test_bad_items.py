"""One bad item gives one line, and the rest goes on."""

import json
import os
import shutil
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from benchmark.suite.cache import Cache
from realfill.errors import UserError
from realfill.geometry.features import Correspondences
from realfill.geometry.hypotheses import map_photos
from realfill.images.read import read_photo
from realfill.record import RECORD_FILE, TrainingRecord
from realfill.scene import load_references, load_scene, load_target
from tests.conftest import RunScript, draw_photo, write_scene
from tests.helpers import write_completions


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *chunks: bytes) -> bytes:
    """Return a PNG that claims a size."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks)


TEXT_BOMB = chunk(b"zTXt", b"note\0\0" + zlib.compress(b"x" * (1 << 28), 9))
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 90 90\nshowpage\n"


def not_a_number(path: Path) -> None:
    values = np.full((90, 120), np.nan, np.float32)
    Image.fromarray(values).save(path, "TIFF")


def mutated_avif(path: Path) -> None:
    draw_photo(0).save(path, "AVIF")
    content = bytearray(path.read_bytes())
    content[12:200:3] = bytes(len(content[12:200:3]))
    path.write_bytes(content)


BAD_IMAGES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "empty": ("9.png", Path.touch),
    "dangling": ("9.png", lambda path: path.symlink_to("nowhere")),
    "pipe": ("9.png", os.mkfifo),
    "folder": ("9.png", Path.mkdir),
    "bomb": ("9.png", lambda path: path.write_bytes(png(60000, 60000))),
    "bomb of an unknown suffix": ("9.dat", lambda path: path.write_bytes(png(60000, 60000))),
    "text bomb": ("9.png", lambda path: path.write_bytes(png(90, 90, TEXT_BOMB))),
    "text bomb of an unknown suffix": (
        "9.dat",
        lambda path: path.write_bytes(png(90, 90, TEXT_BOMB)),
    ),
    "PostScript": ("9.jpg", lambda path: path.write_bytes(EPS)),
    "not a number": ("9.tiff", not_a_number),
    "HEIC": ("9.heic", lambda path: path.write_bytes(b"\0\0\0\x18ftypheic")),
}
if features.check("avif"):
    BAD_IMAGES["AVIF"] = ("9.avif", mutated_avif)


@pytest.mark.parametrize("kind", BAD_IMAGES)
def test_a_bad_image_is_refused_on_one_line(tmp_path: Path, kind: str) -> None:
    name, make = BAD_IMAGES[kind]
    make(tmp_path / name)
    with pytest.raises(UserError, match=name) as refused:
        read_photo(tmp_path / name)
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize("kind", BAD_IMAGES)
def test_a_bad_image_among_references_ends_in_one_line_or_is_passed_over(
    scene_folder: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name, make = BAD_IMAGES[kind]
    make(scene_folder / "ref" / name)
    try:
        assert len(load_references(scene_folder / "ref")) == 2
    except UserError as error:
        assert name in str(error)
    else:
        assert name in capsys.readouterr().err


@pytest.mark.skipif(sys.platform != "linux", reason="the programs that are started are looked at")
def test_no_program_is_started_for_an_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import subprocess

    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a program was started"))
    for suffix in ("jpg", "eps"):
        (tmp_path / f"a.{suffix}").write_bytes(EPS)
        with pytest.raises(UserError):
            read_photo(tmp_path / f"a.{suffix}")


def test_a_folder_that_cannot_be_read(scene_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(folder: Path):
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(UserError, match="ref: cannot be read"):
        load_scene(scene_folder)


@pytest.mark.parametrize("turn", [2, 3, 4])
def test_a_turn_that_keeps_the_size_is_said(
    scene_folder: Path, turn: int, capsys: pytest.CaptureFixture[str]
) -> None:
    photo, exif = draw_photo(0), Image.Exif()
    exif[0x0112] = turn
    path, mask = scene_folder / "target/turned.jpg", scene_folder / "target/mask.png"
    photo.save(path, exif=exif)
    load_target(scene_folder / "target/target.png", mask)
    assert capsys.readouterr().err == ""
    load_target(path, mask)
    assert "EXIF" in capsys.readouterr().err


BAD_RECORDS = ["", "null", "5", "[]", "{", "[" * 9999, '{"settings": 5}', '{"identity": null}']
BAD_RECORDS += ['{"settings": {"seed": "x"}}', '{"files": 3}', '{"base": []}']


@pytest.mark.parametrize("content", BAD_RECORDS)
def test_a_record_that_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / RECORD_FILE).write_text(content)
    with pytest.raises(UserError, match=r"realfill\.json: damaged"):
        TrainingRecord.read(tmp_path)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Return a folder of two results folders, with their scenes beside it."""
    (tmp_path / "results").mkdir()
    for name in ("one", "two"):
        write_completions(tmp_path / "results" / name, write_scene(tmp_path / "scenes" / name))
    return tmp_path / "results"


def score(start: RunScript, results: Path, *more: object) -> tuple[int, dict]:
    """Score `results`; return the exit code and the report, all four files of which are there."""
    base, code = results.parent, 0
    flags = ["--results_base_dir", results, "--scenes", base / "scenes", "--num_images", 3]
    flags += ["--metrics", "psnr", "--loftr_script_path", "none", "--cache_dir", base / "cache"]
    try:
        start("benchmarks.py", *flags, "--output_file", base / "report.txt", *more)
    except SystemExit as stopped:
        code = stopped.code
    for suffix in ("txt", "csv", "html"):
        assert (base / f"report.{suffix}").stat().st_size
    return code, json.loads((base / "report.json").read_text())


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def dangle(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


@pytest.mark.parametrize("spoil", [pipe, dangle, lambda path: path.write_bytes(b"")])
def test_a_bad_completion_is_left_out_of_the_scores(
    results: Path, start: RunScript, spoil: Callable[[Path], None]
) -> None:
    spoil(results / "one/0.png")
    code, report = score(start, results)
    assert code == 3
    numbers = [list(folder["images"].values()) for folder in report["folders"]]
    assert sum(each["psnr"] is not None for folder in numbers for each in folder) == 5


@pytest.mark.parametrize("damage", ["gone", "damaged"])
@pytest.mark.parametrize("scenes", [1, 2])
def test_a_bad_truth_is_left_out_of_the_report(
    results: Path, start: RunScript, scenes: int, damage: str
) -> None:
    if scenes == 1:
        shutil.rmtree(results / "two")
    truth = results.parent / "scenes/one/target/gt.png"
    truth.unlink()
    if damage == "damaged":
        truth.write_bytes(b"no image")
    code, report = score(start, results)
    assert code == 3
    means = [folder["means"]["psnr"] for folder in report["folders"]]
    assert sum(mean is not None for mean in means) == scenes - 1


def test_a_report_never_replaces_what_is_none(
    results: Path, refuse: RunScript, start: RunScript
) -> None:
    score(start, results)
    assert score(start, results)[0] == 0, "an earlier report may be renewed"
    photo = results / "one/0.png"
    before = photo.read_bytes()
    flags = ["--results_base_dir", results, "--scenes", results.parent / "scenes"]
    assert "0.png" in refuse("benchmarks.py", *flags, "--output_file", photo)
    assert photo.read_bytes() == before


@pytest.mark.parametrize("fault", ["damaged", "read-only", "a folder"])
def test_a_cache_that_cannot_be_used_is_done_without(
    tmp_path: Path, fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "scores.sqlite"
    if fault == "damaged":
        path.write_bytes(b"no database " * 999)
    elif fault == "a folder":
        path.mkdir()
    cache = Cache(tmp_path)
    if fault == "read-only":
        cache.file.execute("PRAGMA query_only = ON")
    cache.write({"a": b"1"})
    assert cache.read(["a"]) == {"a": b"1"}
    assert "scores.sqlite: cannot be used" in capsys.readouterr().err


def test_a_crash_of_structure_from_motion_is_said(scene_folder: Path) -> None:
    """Points without coordinates end its process."""
    photos = list(load_scene(scene_folder).references.values())
    points = [np.zeros(4, np.float32)] * 2
    pairs = {(0, 1): np.zeros((30, 2), np.uint32)}
    found = Correspondences(["1"], [photo.size for photo in photos], points, pairs, {})
    with pytest.raises(UserError, match="structure from motion crashed"):
        map_photos(found, photos)
