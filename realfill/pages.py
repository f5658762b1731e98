"""HTML pages that are one file, from a template, with small pictures in them."""

import base64
import io
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

HOLE = "#c9ced6"
"""The colour of what is missing."""


def environment(folder: Path) -> Environment:
    """Return what reads the templates in `folder`; text is escaped, an unknown name an error."""
    return Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def hide_hole(photo: Image.Image, mask: Image.Image) -> Image.Image:
    """Return `photo` with its hole, where the L mask of the same size is 255, in one colour."""
    return Image.composite(Image.new("RGB", photo.size, HOLE), photo, mask)


def small_jpeg(photo: Image.Image, side: int) -> bytes:
    """Return an RGB photo as a JPEG of at most `side` pixels a side."""
    photo = photo.copy()
    photo.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    photo.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def data_address(jpeg: bytes) -> str:
    """Return a JPEG as an address that holds it."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()
