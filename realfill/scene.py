"""Reading and checking a scene folder: references, target, mask, and the truth if it is known.

scene/ref/*              one or more photos
scene/target/target.*    the photo to complete
scene/target/mask.*      white (over 127) = to fill; same size as the target
scene/target/gt.*        the truth; only scoring and the contact sheet read it
"""

import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from realfill.command_line import is_main_process
from realfill.errors import UserError
from realfill.images.blend import hole_of, shrink_mask
from realfill.images.read import has_image_suffix, is_image, orientation, read_mask, read_photo

SAME_SIZE_TURNS = {2: "mirrored", 3: "turned by 180 degrees", 4: "mirrored"}
"""What EXIF orientations that keep the size do to a photo."""


@dataclass(frozen=True)
class Scene:
    """A checked scene. Photos are RGB, the mask is L with 0 (known) and 255 (to fill) only."""

    name: str
    references: dict[str, Image.Image]
    target: Image.Image
    mask: Image.Image

    @property
    def hole(self) -> np.ndarray:
        """The pixels to fill, bool `(H, W)`."""
        return hole_of(self.mask)

    def hole_at(self, size: tuple[int, int]) -> np.ndarray:
        """Return the hole at a smaller `size` (width, height), bool: all pixels that it touches."""
        return hole_of(shrink_mask(self.mask, size))

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

    Raises `UserError` if there are none or one is damaged.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; put one or more photos of the scene there")
    references = {path.name: read_photo(path) for path in list_images(folder)}
    if not references:
        raise UserError(f"{folder}: no photos in it; put one or more photos of the scene there")
    return references


def list_images(folder: Path) -> list[Path]:
    """Return the image files in `folder`, sorted; what else is there is named on a line.

    Hidden files are passed over, too. Raises `UserError` if the folder cannot be read.
    """
    images, passed_over = [], []
    for path in list_folder(folder):
        hidden = path.name.startswith(".")
        (passed_over if hidden or not path.is_file() or not is_image(path) else images).append(path)
    if passed_over and is_main_process():
        names = ", ".join(path.name for path in passed_over)
        print(f"{folder}: passed over, not images: {names}", file=sys.stderr)
    return images


def list_folder(folder: Path) -> list[Path]:
    """Return what is in `folder`, sorted. Raises `UserError` if it cannot be read."""
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise UserError(f"{folder}: cannot be read ({error.strerror})") from None


def load_target(target_path: Path, mask_path: Path) -> tuple[Image.Image, Image.Image]:
    """Read a photo and its mask. Raises `UserError` if they do not fit each other."""
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
    """Read the truth of the scene in `folder`, or return None if there is none."""
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
