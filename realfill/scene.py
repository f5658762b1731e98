"""Reading and checking a scene folder: references, target, mask, and the truth where it is known.

scene/ref/*              one or more photos
scene/target/target.*    the photo to complete
scene/target/mask.*      white (over 127) = to fill; same size as the target
scene/target/gt.*        the truth; only scoring and the contact sheet read it
"""

import hashlib
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from realfill.errors import UserError

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
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or not path.is_file() or not is_image(path):
            passed_over.append(path.name)
        else:
            references[path.name] = read_photo(path)
    if passed_over:
        print(f"{folder}: passed over, not images: {', '.join(passed_over)}", file=sys.stderr)
    if not references:
        raise UserError(f"{folder}: no photos in it; put one or more photos of the scene there")
    return references


def load_target(target_path: Path, mask_path: Path) -> tuple[Image.Image, Image.Image]:
    """Read a photo and its mask. Raises `UserError` where they do not fit each other."""
    target, mask = read_photo(target_path), read_mask(mask_path)
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
    found = sorted(path for path in folder.glob(f"{stem}.*") if has_image_suffix(path))
    if not found:
        raise UserError(f"{folder / stem}.png: no such file (nor in another image format)")
    if len(found) > 1:
        names = " and ".join(path.name for path in found)
        raise UserError(f"{folder}: {names} are both there; keep one of them")
    return found[0]


def has_image_suffix(path: Path) -> bool:
    """Say whether the suffix of `path` is that of a format that can be read."""
    return Image.registered_extensions().get(path.suffix.lower()) in Image.OPEN


def is_image(path: Path) -> bool:
    """Say whether `path` is an image by its content or claims to be one by its suffix."""
    if has_image_suffix(path):
        return True
    try:
        with Image.open(path):
            return True
    except (UnidentifiedImageError, OSError):
        return False


def read_photo(path: Path) -> Image.Image:
    """Read an image of any mode, upright, as RGB; transparency becomes white."""
    return flatten(open_upright(path), "white").convert("RGB")


def read_mask(path: Path) -> Image.Image:
    """Read a mask of any mode, upright, as L with 0 and 255 only; transparent means known."""
    image = flatten(open_upright(path), "black").convert("L")
    return image.point(lambda value: 255 if value > 127 else 0)


def flatten(image: Image.Image, background: str) -> Image.Image:
    """Bring an image to eight bits a channel and put it on `background` where transparent."""
    image = to_eight_bits(image)
    if not image.has_transparency_data:
        return image
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, background), image)


def open_upright(path: Path) -> Image.Image:
    """Decode `path` and turn it as its EXIF orientation says. Raises `UserError`."""
    try:
        with warnings.catch_warnings():
            # Pillow warns from half of the size that it refuses; refusing is enough.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                image.load()
                image = ImageOps.exif_transpose(image)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except Image.DecompressionBombError:
        raise UserError(f"{path}: too many pixels to open safely; save it smaller") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError) as error:
        raise UserError(
            f"{path}: damaged or not an image ({error}); save it again as PNG or JPEG"
        ) from None
    if min(image.size) < MINIMUM_SIDE:
        raise UserError(
            f"{path}: {image.width} x {image.height} is too small; "
            f"both sides must be {MINIMUM_SIDE} px or more"
        )
    return image


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
        return Image.fromarray((values.clip(0, top) * (255 / top)).round().astype("uint8"))
    return image
