"""The picture of what geometry found: for a person who asks why it did what it did."""

import numpy as np
import torch
from PIL import Image, ImageDraw

from realfill.geometry.features import work_image
from realfill.geometry.findings import Findings
from realfill.geometry.guide import confident_mask
from realfill.geometry.prefill import Depths
from realfill.geometry.rendering import Stage, make_stage, predict_at, to_image
from realfill.geometry.views import Cameras
from realfill.scene import Scene
from realfill.sheets.contact import (
    BACKGROUND,
    FAINT,
    GAP,
    HEADING,
    INK,
    MARK,
    SHEET,
    draw_grid,
    font,
    mark_hole,
    shorten,
    trim,
)
from realfill.sheets.maps import draw_map, outline
from realfill.sheets.pair import draw_pair
from realfill.sheets.plan import PAPER, draw_plan

PAIRS_COLUMN = 560
MOST_PAIRS = 6
MOST_LINES = 60
"""Of a pair, so that both kinds of matches are told apart at this size."""
ASTRAY = "#ff5d5d"
"""Of matches that do not agree with the cameras."""
WORST = 0.5
"""Cost of a vote between windows that have nothing in common."""
PANEL = 760
"""Pixels of the longer side of the panels before they are fitted in."""


def make_geometry_sheet(scene: Scene, findings: Findings) -> Image.Image:
    """Draw the matches, the cameras from above, the depth, its votes, and the confidence.

    If geometry was refused, what led to it. Returns an RGB picture of at most 1600 x 1000 pixels.
    """
    width, height = SHEET
    sheet = Image.new("RGB", SHEET, BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, 8), f"{scene.name}: geometry", INK, font(26))
    left = 2 * GAP + 12 + round(font(26).getlength(f"{scene.name}: geometry"))
    message = shorten(findings.prefill.message, width - left - GAP, 18)
    draw.text((left, 16), message, FAINT, font(18))
    pairs = draw_pairs(scene, findings)
    split = PAIRS_COLUMN if pairs else 0
    draw_grid(sheet, pairs, (0, HEADING, split, height))
    draw_grid(sheet, draw_maps(scene, findings), (split, HEADING, width, height))
    return trim(sheet)


def draw_pairs(scene: Scene, findings: Findings) -> list[tuple[str, Image.Image]]:
    """Draw the target beside each reference, with their matches: the used references first."""
    matches, used = findings.matches, findings.cameras.views

    def rank(name: str) -> tuple[bool, int]:
        return name not in used, -len(matches.pairs[0, 1 + matches.names.index(name)])

    target = work_image(mark_hole(scene.target, scene.mask))
    panels = []
    for name in sorted(matches.names, key=rank)[:MOST_PAIRS]:
        ends = np.hstack(matches.places(0, 1 + matches.names.index(name))) - 0.5
        agree = findings.agreeing(name)
        said = f"{agree.sum()} of {len(ends)} matches agree (green)"
        if name not in used:
            said = f"not used, {len(ends)} matches"
        step = max(1, -(-len(ends) // MOST_LINES))
        ends, agree = ends[::step], agree[::step]
        lines = {ASTRAY: ends[~agree], MARK: ends[agree]}
        pair = draw_pair(target, work_image(scene.references[name]), lines, width=2)
        panels.append((f"photo and reference {name}: {said}", pair))
    return panels


def draw_maps(scene: Scene, findings: Findings) -> list[tuple[str, Image.Image]]:
    """Draw what was found around the hole, each with a caption."""
    cameras, depths, prefill = findings.cameras, findings.depths, findings.prefill
    stage = make_stage(scene.target, scene.mask, {}, torch.device("cpu"))
    hole, band = stage.hole.numpy(), stage.band.numpy()
    around = mark_hole(to_image(stage.target), to_image(stage.hole.float()))
    around = outline(around, hole, PANEL)
    panels = [("the photo around its hole", around)]
    if depths is not None:
        predicted = to_image(predict_at(depths.inverse, cameras, depths.stage)[0])
        said = "from the references alone, tested in the ring"
        panels.append((said, outline(outline(predicted, hole | band, PANEL), hole, PANEL)))
    if prefill.confidence.getbbox():
        sure = np.where(hole, cut(prefill.confidence, stage) / 255, np.nan)
        known = cut(confident_mask(prefill, scene.mask), stage) > 127
        said = "confidence (yellow is sure); outlined: known"
        panels.append((said, outline(draw_map(sure), known, PANEL)))
    if depths is None or not cameras.have_parallax:
        return [*panels, ("cameras from above", draw_note(why_no_depth(cameras), around.size))]
    return [*panels, *draw_depths(cameras, depths, around.size)]


def draw_depths(
    cameras: Cameras, depths: Depths, size: tuple[int, int]
) -> list[tuple[str, Image.Image]]:
    """Draw the cameras from above in a picture of `size`, the depth and its votes."""
    hole, inverse = depths.stage.hole.cpu().numpy(), depths.inverse.cpu().numpy()
    least, most = np.quantile(inverse, [0.02, 0.98])
    span = (least, max(most, least + 1e-6))
    nearness = (inverse - span[0]) / (span[1] - span[0])
    agreement = 1 - depths.cost.cpu().numpy() / WORST
    return [
        ("cameras from above, points coloured by depth", draw_plan(cameras, size, span)),
        ("depth (blue is far, yellow near)", outline(draw_map(nearness), hole, PANEL)),
        (
            "votes for it (yellow agree, grey: no vote)",
            outline(draw_map(agreement), hole, PANEL),
        ),
    ]


def why_no_depth(cameras: Cameras) -> str:
    """Say why there are no positions of cameras and no depths to draw."""
    if not cameras.views:
        return "No reference is tied\nto the photo: no\npositions, no depth"
    if any(view.is_plane for view in cameras.views.values()):
        return "Homographies tie\nthe references: no\npositions, no depth"
    return "All cameras stand\nin one place:\nno depth to tell"


def cut(image: Image.Image, stage: Stage) -> np.ndarray:
    """Return the part of an image of the whole photo that the stage shows, at its size."""
    first, last = stage.points[0, 0].numpy(), stage.points[-1, -1].numpy()
    height, width = stage.hole.shape
    half = (last - first) / np.maximum([width - 1, height - 1], 1) / 2
    box = np.concatenate([first - half, last + half]).clip(0, 1) * (image.size * 2)
    return np.asarray(image.resize((width, height), Image.Resampling.BOX, tuple(box)))


def draw_note(text: str, size: tuple[int, int]) -> Image.Image:
    """Write a text in place of a picture."""
    note = Image.new("RGB", size, PAPER)
    place = (size[0] / 2, size[1] / 2)
    ImageDraw.Draw(note).multiline_text(place, text, INK, font(36), "mm", align="center")
    return note
