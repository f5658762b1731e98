"""Geometry where people walk about: near the hole photos differ though their views are right."""

from dataclasses import replace

import numpy as np
import torch
from PIL import Image, ImageDraw

from realfill.geometry.findings import look
from realfill.geometry.guide import confident_mask
from realfill.scene import Scene, load_scene
from tests.conftest import ROOT

STROKE = [(269, 248), (341, 278), (413, 248)]
"""Under a sign. People stand at its right end; others walked at its left end before."""


def stroke_scene() -> Scene:
    scene = load_scene(ROOT / "data" / "yard")
    mask = Image.new("L", scene.target.size)
    ImageDraw.Draw(mask).line(STROKE, 255, 60, joint="curve")
    references = {name: scene.references[name] for name in ("0.jpg", "1.jpg")}
    return replace(scene, references=references, mask=mask)


def test_people_who_move_do_not_hide_that_views_are_right() -> None:
    scene = stroke_scene()
    findings = look(scene, torch.device("cpu"))
    assert findings.cameras.is_certain
    assert len(findings.cameras.views) == 2
    known = np.asarray(confident_mask(findings.prefill, scene.mask)) > 0
    assert 0.7 < known.sum() / scene.hole.sum() < 0.98, "not where the references disagree"
    error = np.abs(np.asarray(findings.prefill.image).astype(int) - np.asarray(scene.target))
    assert np.median(error[known]) < 8


def test_photos_of_another_place_stay_apart() -> None:
    scene = stroke_scene()
    other = load_scene(ROOT / "data" / "graf").references
    findings = look(replace(scene, references=other), torch.device("cpu"))
    assert not findings.cameras.views
