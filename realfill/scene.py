"""Reading and checking a scene folder: references, target, mask, and the truth where it is known.

scene/ref/*              one or more photos
scene/target/target.*    the photo to complete
scene/target/mask.*      white (over 127) = to fill; same size as the target
scene/target/gt.*        the truth; only scoring and the contact sheet read it
"""

import hashlib
import importlib.util
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from realfill.command_line import is_main_process
from realfill.errors import UserError

FORMATS = (
    *("PNG", "JPEG", "MPO", "WEBP", "TIFF", "BMP", "DIB", "GIF", "PPM", "JPEG2000"),
    *("TGA", "QOI", "AVIF", "HEIF"),
)
"""Pillow's names of the formats that are opened; what needs another program, as EPS, is not."""
HEIC_SUFFIXES = (".heic", ".heif", ".hif")
EXIF_ORIENTATION = 0x0112
SAME_SIZE_TURNS = {2: "mirrored", 3: "turned by 180 degrees", 4: "mirrored"}
"""What EXIF orientations that keep the size do to a photo."""
MOST_PIXELS = 110_000_000
"""A photo of 12,000 x 9,000 may be read; what claims to hold more would take too much memory."""
MINIMUM_SIDE = 64
"""Pixels; a photo with a shorter side has too little in it to learn from."""


@dataclass(frozen=True)
class Scene:
    """A checked scene. Photos are RGB, the mask is L with 0 (known) and 255 (to fill) only."""

    name: str
    references: dict[str, Image.Image]
    target: Image.Image
    mask: Image.Image

    def digest(self) -> str:
        """Return a hash of all pixels that training sees."""
        pixels = hashlib.sha256()
        for image in (*self.references.values(), self.target, self.mask):
            pixels.update(f"{image.mode}{image.size}".encode())
            pixels.update(image.tobytes())
        return pixels.hexdigest()


def load_scene(folder: Path) -> Scene:
    """Read the scene in `folder`. Raises `UserError` for anything missing or unusable."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give a scene folder with ref/ and target/")
    references = load_references(folder / "ref")
    target, mask = load_target(
        find_image(folder / "target", "target"), find_image(folder / "target", "mask")
    )
    return Scene(folder.resolve().name, references, target, mask)


def load_references(folder: Path) -> dict[str, Image.Image]:
    """Read the photos in `folder` by name; files that are not images are passed over with a line.

    Raises `UserError` where there are none or one is damaged.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; put one or more photos of the scene there")
    references, passed_over = {}, []
    for path in list_folder(folder):
        if path.name.startswith(".") or not path.is_file() or not is_image(path):
            passed_over.append(path.name)
        else:
            references[path.name] = read_photo(path)
    if passed_over and is_main_process():
        print(f"{folder}: passed over, not images: {', '.join(passed_over)}", file=sys.stderr)
    if not references:
        raise UserError(f"{folder}: no photos in it; put one or more photos of the scene there")
    return references


def list_folder(folder: Path) -> list[Path]:
    """Return what is in `folder`, sorted. Raises `UserError` if it cannot be read."""
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise UserError(f"{folder}: cannot be read ({error.strerror})") from None


def load_target(target_path: Path, mask_path: Path) -> tuple[Image.Image, Image.Image]:
    """Read a photo and its mask. Raises `UserError` where they do not fit each other."""
    target, mask = read_photo(target_path), read_mask(mask_path)
    turns = [SAME_SIZE_TURNS.get(orientation(path)) for path in (target_path, mask_path)]
    if turns[0] != turns[1] and is_main_process():
        print(
            f"{target_path}: is {turns[0] or 'upright'} by its EXIF orientation, {mask_path.name} "
            f"{turns[1] or 'upright'}; each was turned by its own, and they were assumed to fit",
            file=sys.stderr,
        )
    if mask.size != target.size:
        raise UserError(
            f"{mask_path}: the mask is {mask.width} x {mask.height}, {target_path.name} is "
            f"{target.width} x {target.height}; save the mask in the photo's size"
        )
    extrema = mask.getextrema()
    if extrema == (0, 0):
        raise UserError(f"{mask_path}: the mask is all black; paint what is to be filled white")
    if extrema == (255, 255):
        raise UserError(f"{mask_path}: the mask is all white; leave what is known black")
    return target, mask


def load_truth(folder: Path) -> Image.Image | None:
    """Read the truth of the scene in `folder`, or return None where there is none."""
    candidates = list((folder / "target").glob("gt.*"))
    return read_photo(find_image(folder / "target", "gt")) if candidates else None


def find_image(folder: Path, stem: str) -> Path:
    """Return the one image file `stem`.* in `folder`; raises `UserError` for none or several."""
    found = [
        path
        for path in (list_folder(folder) if folder.is_dir() else ())
        if path.name.startswith(f"{stem}.") and has_image_suffix(path)
    ]
    if not found:
        raise UserError(f"{folder / stem}.png: no such file (nor in another image format)")
    if len(found) > 1:
        names = " and ".join(path.name for path in found)
        raise UserError(f"{folder}: {names} are both there; keep one of them")
    return found[0]


def has_image_suffix(path: Path) -> bool:
    """Say whether the suffix of `path` is that of a format that can be read."""
    register_heic()
    suffix = path.suffix.lower()
    return suffix in HEIC_SUFFIXES or Image.registered_extensions().get(suffix) in FORMATS


@cache
def register_heic() -> None:
    """Let Pillow read HEIC, if its plug-in for that is installed."""
    if importlib.util.find_spec("pillow_heif"):
        import pillow_heif

        pillow_heif.register_heif_opener()


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
    return open_upright(path, "L", "black").point(lambda value: 255 if value > 127 else 0)


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
