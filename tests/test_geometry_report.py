"""The picture of what geometry found, for a person."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageColor

from realfill.geometry.findings import look
from realfill.geometry.guide import PICTURES
from realfill.geometry.prefill import empty_prefill
from realfill.sheets.contact import INK, MARK
from realfill.sheets.geometry import make_geometry_sheet
from realfill.sheets.plan import draw_plan
from tests.conftest import RunScript
from tests.rendered import foreign_photo, variant

CPU = torch.device("cpu")


def shades(path: Path) -> int:
    """Return how many colours a picture of a person's screen size has."""
    with Image.open(path) as picture:
        assert picture.mode == "RGB"
        assert 600 < picture.width <= 1608
        assert 300 < picture.height <= 1008
        return len(np.unique(np.asarray(picture).reshape(-1, 3), axis=0))


def test_the_report_is_drawn_and_changes_nothing(tmp_path: Path, start: RunScript) -> None:
    flags = ("infer.py", "--geometry", "only", "--scene", "data/graf", "--output_dir", tmp_path)
    start(*flags)
    assert not (tmp_path / "geometry.png").exists()
    pictures = {name: (tmp_path / name).read_bytes() for name in ("0.png", *PICTURES)}
    start(*flags, "--geometry_report")
    assert shades(tmp_path / "geometry.png") > 1000
    assert pictures == {name: (tmp_path / name).read_bytes() for name in pictures}
    record = json.loads((tmp_path / "cameras.json").read_text("utf-8"))
    assert set(record["seconds"]) == {"features and matches", "hypotheses", "depths", "rendering"}
    start(*flags, "--overwrite")
    assert not (tmp_path / "geometry.png").exists(), "the report of replaced completions"


def test_a_refusal_is_drawn_too(rendered, tmp_path: Path, start: RunScript) -> None:
    scene = rendered[0]
    for folder in ("ref", "target"):
        (tmp_path / "scene" / folder).mkdir(parents=True)
    foreign_photo().save(tmp_path / "scene/ref/foreign.png")
    scene.target.save(tmp_path / "scene/target/target.png")
    scene.mask.save(tmp_path / "scene/target/mask.png")
    flags = ("--scene", tmp_path / "scene", "--output_dir", tmp_path / "out", "--geometry_report")
    with pytest.raises(SystemExit) as stopped:
        start("infer.py", *flags, "--geometry", "only")
    assert stopped.value.code == 2
    assert shades(tmp_path / "out/geometry.png") > 1000
    start("infer.py", *flags, "--num_images", "1")
    assert (tmp_path / "out/0.png").exists(), "what the refusal said to do"
    with pytest.raises(SystemExit) as stopped:
        start("infer.py", *flags, "--geometry", "off")
    assert stopped.value.code == 2


def test_the_report_places_cameras_and_tells_right_matches_from_wrong(rendered) -> None:
    scene, cameras, _, _ = rendered
    mixed = variant(scene, foreign=foreign_photo(), **scene.references)
    found = look(mixed, CPU)
    assert list(found.cameras.views) == list(scene.references)
    assert found.agreeing("left").mean() > 0.8
    assert not found.agreeing("foreign").any()
    mirrored = dict.fromkeys(scene.references, cameras.views["up"])
    wrong = replace(found, cameras=replace(cameras, views=mirrored))
    assert wrong.agreeing("left").mean() < 0.5
    plan = draw_plan(cameras, (400, 400), (0.0, 0.5))
    white, green = (
        np.argwhere((np.asarray(plan) == ImageColor.getrgb(colour)).all(-1))
        for colour in (INK, MARK)
    )
    assert len(white) > 50
    assert len(green) > 50
    refused = replace(found, prefill=empty_prefill(mixed, "off: the references predict too little"))
    for findings in (found, refused):
        sheet = make_geometry_sheet(mixed, findings)
        assert len(sheet.getcolors(sheet.width * sheet.height)) > 1000
