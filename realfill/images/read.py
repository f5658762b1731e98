"""Decoding photos and masks of any mode, safely, upright and in eight bits."""

import importlib.util
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from realfill.errors import UserError
from realfill.images.blend import cut_mask

FORMATS = (
    *("PNG", "JPEG", "MPO", "WEBP", "TIFF", "BMP", "DIB", "GIF", "PPM", "JPEG2000"),
    *("TGA", "QOI", "AVIF", "HEIF"),
)
"""Pillow's names of the formats that are opened; what needs another program, as EPS, is not."""
HEIC_SUFFIXES = (".heic", ".heif", ".hif")
EXIF_ORIENTATION = 0x0112
MOST_PIXELS = 110_000_000
"""A photo of 12,000 x 9,000 may be read; what claims to hold more would take too much memory."""
MINIMUM_SIDE = 64
"""Pixels; a photo with a shorter side has too little in it to learn from."""


def has_image_suffix(path: Path) -> bool:
    """Say whether the suffix of `path` is that of a format that can be read."""
    register_heic()
    suffix = path.suffix.lower()
    return suffix in HEIC_SUFFIXES or Image.registered_extensions().get(suffix) in FORMATS


@cache
def register_heic() -> None:
    """Let Pillow read HEIC, if its plug-in for that is installed."""
    if importlib.util.find_spec("pillow_heif"):
        import_module("pillow_heif").register_heif_opener()


def is_image(path: Path) -> bool:
    """Say whether `path` is an image by its content or claims to be one by its suffix."""
    if has_image_suffix(path):
        return True
    try:
        with opened(path):
            return True
    except UserError:
        return False


def read_photo(path: Path) -> Image.Image:
    """Read an image of any mode, upright, as RGB; transparency becomes white."""
    return open_upright(path, "RGB", "white")


def read_mask(path: Path) -> Image.Image:
    """Read a mask of any mode, upright, as L with 0 and 255 only; transparent means known."""
    return cut_mask(open_upright(path, "L", "black"))


def flatten(image: Image.Image, background: str) -> Image.Image:
    """Bring an image to eight bits a channel and put it on `background` where transparent."""
    image = to_eight_bits(image)
    if not image.has_transparency_data:
        return image
    if image.mode != "RGBA":
        image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, background), image)


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """Open `path`, of one of `FORMATS`; turn whatever goes wrong in the block into `UserError`.

    Pillow's decoders raise almost anything at a damaged file.
    """
    register_heic()
    if not path.exists():
        raise UserError(f"{path}: no such file")
    if not path.is_file():
        raise UserError(f"{path}: is not a file")  # opening a pipe would wait for ever
    try:
        with warnings.catch_warnings():
            # Pillow warns of large sizes and of odd metadata; refusing is enough.
            warnings.simplefilter("ignore")
            formats = [name for name in FORMATS if name in known_formats()]
            with Image.open(path, formats=formats) as image:
                if image.width * image.height > MOST_PIXELS:
                    raise Image.DecompressionBombError
                yield image
    except UserError:
        raise
    except Image.DecompressionBombError:
        raise UserError(f"{path}: too many pixels to open safely; save it smaller") from None
    except Exception as error:
        if path.suffix.lower() in HEIC_SUFFIXES and "HEIF" not in Image.OPEN:
            raise UserError(
                f"{path}: HEIC needs a plug-in: pip install pillow-heif; or save it as JPEG"
            ) from None
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(
            f"{path}: damaged or not an image ({reason}); save it again as PNG or JPEG"
        ) from None


@cache
def known_formats() -> frozenset[str]:
    """Return the formats that this Pillow and its plug-ins can read."""
    Image.init()
    return frozenset(Image.OPEN)


def orientation(path: Path) -> int:
    """Return the EXIF orientation of an image file, 1 if it has none. Raises `UserError`."""
    with opened(path) as image:
        return image.getexif().get(EXIF_ORIENTATION, 1)


def open_upright(path: Path, mode: str, background: str) -> Image.Image:
    """Decode `path`, turned as its EXIF orientation says, on `background` if transparent.

    `mode` is that of the result. Raises `UserError`.
    """
    with opened(path) as image:
        image.load()
        if image.mode == "F" and not np.isfinite(np.asarray(image)).all():
            raise ValueError("it holds values that are not numbers")
        ImageOps.exif_transpose(image, in_place=True)
        upright = flatten(image, background).convert(mode)
    if min(upright.size) < MINIMUM_SIDE:
        raise UserError(
            f"{path}: {upright.width} x {upright.height} is too small; "
            f"both sides must be {MINIMUM_SIDE} px or more"
        )
    return upright


def to_eight_bits(image: Image.Image) -> Image.Image:
    """Bring the modes of 16 bits and more to L; Pillow would cut them off at 255."""
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image).astype(np.float32) / 257).round().astype("uint8"))
    if image.mode in ("I", "F"):
        values = np.asarray(image, dtype=np.float32)
        top = (
            1.0
            if image.mode == "F" and values.max() <= 1
            else 255.0
            if values.max() <= 255
            else 65535.0
        )
        values = values.clip(0, top)
        values *= 255 / top
        return Image.fromarray(values.round(out=values).astype("uint8"))
    return image
