"""The preview that is painted on, what was painted, and a segmenter for what was marked."""

from typing import Any

import cv2
import numpy as np
from PIL import Image

from realfill.app.workspace import PAINTED, PREVIEW
from realfill.errors import UserError
from realfill.images.blend import scale_mask

PAINT = (255, 59, 48)
"""The brush's colour, RGB."""
TINT = 0.6
"""How much of it lies over what was painted before."""
WORK_SIDE = 640
"""Longest side in pixels at which an object is separated."""
ROUNDS = 5


def preview(photo: Image.Image, side: int = PREVIEW) -> Image.Image:
    """Return `photo` at a longest side of `side` pixels at most."""
    small = photo.copy()
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    return small


def editor_value(photo: Image.Image, mask: Image.Image | None) -> dict[str, Any]:
    """Return what the editor shows: the preview, tinted where `mask`, L, of any size is white.

    The mask is no layer of the editor, which would put it where the window's size has it.
    """
    background = preview(photo, PAINTED)
    if mask is not None:
        red = Image.new("RGB", background.size, PAINT)
        tinted = Image.blend(background, red, TINT)
        background = Image.composite(tinted, background, scale_mask(mask, background.size))
    return {"background": background, "layers": [], "composite": None}


def painted(value: dict[str, Any] | None, before: Image.Image | None) -> Image.Image:
    """Return what is painted in the editor or was painted `before`, L, of the preview's size.

    It is 255 where a stroke covers at least half. Raises `UserError` if there is no photo.
    """
    if not value or value.get("background") is None:
        raise UserError("There is no photo yet: drop one first.")
    size = value["background"].size
    mask = Image.new("L", size) if before is None else scale_mask(before, size)
    for layer in value["layers"]:
        stroke = scale_mask(layer.convert("RGBA").getchannel("A"), size)
        mask.paste(255, mask=stroke)
    return mask


def separate(photo: Image.Image, hint: Image.Image) -> Image.Image:
    """Return the mask, L, of the object that `hint`, L, marks a part of; both of one size.

    By GrabCut (Rother et al., 2004): what is marked belongs to it, what lies far away does not.
    Raises `UserError` if nothing is marked.
    """
    scale = min(1, WORK_SIDE / max(photo.size))
    size = (max(1, round(photo.width * scale)), max(1, round(photo.height * scale)))
    pixels = np.asarray(photo.convert("RGB").resize(size, Image.Resampling.LANCZOS))[..., ::-1]
    marked = np.asarray(hint.resize(size, Image.Resampling.BOX)) > 0
    if not marked.any():
        raise UserError("Nothing is marked: paint over a part of the object first.")
    rows, columns = np.flatnonzero(marked.any(1)), np.flatnonzero(marked.any(0))
    margin = max(rows[-1] - rows[0], columns[-1] - columns[0], max(size) // 8)
    labels = np.full(marked.shape, cv2.GC_BGD, np.uint8)
    labels[
        max(0, rows[0] - margin) : rows[-1] + margin,
        max(0, columns[0] - margin) : columns[-1] + margin,
    ] = cv2.GC_PR_BGD
    labels[marked] = cv2.GC_FGD
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.setRNGSeed(0)
    whole = (0, 0, *size)  # not looked at, as there are labels
    cv2.grabCut(pixels.copy(), labels, whole, *models, ROUNDS, cv2.GC_INIT_WITH_MASK)
    found = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    _, parts = cv2.connectedComponents(found)
    found[~np.isin(parts, np.unique(parts[marked]))] = 0
    grown = cv2.dilate(found, np.ones((3, 3), np.uint8), iterations=2)  # its edge goes as well
    return scale_mask(Image.fromarray(255 * grown), photo.size)
