"""Scenes of one's own photos: each has one photo as its target, and its neighbours as references.

Either some photos have masks, or holes are drawn and the photos themselves are the truth.
"""

import re
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

from PIL import Image

from realfill.datasets.holes import HOLES
from realfill.datasets.write import Recipe
from realfill.errors import UserError
from realfill.images.read import is_image, read_photo
from realfill.scene import list_folder, list_images, load_target
from realfill.seeds import derive_seed
from realfill.storage import file_hash, write_image


@dataclass(frozen=True)
class Place:
    """The photos of one place that can be read, in the order of their names."""

    name: str
    photos: list[Path]
    masks: dict[Path, Path]
    """The masks of some photos."""


def find_places(source: Path) -> list[Path]:
    """Return `source` if there are photos in it, else the folders in it, one for each place.

    Raises `UserError` if there are none.
    """
    if not source.is_dir():
        raise UserError(f"{source}: no such folder; give a folder of photos")
    inside = [path for path in list_folder(source) if not path.name.startswith(".")]
    if any(path.is_file() and is_image(path) for path in inside):
        return [source]
    folders = [path for path in inside if path.is_dir()]
    if not folders:
        raise UserError(f"{source}: neither photos nor folders of photos in it")
    return folders


def read_place(folder: Path, mask_name: str | None) -> tuple[Place, list[str]]:
    """Look through the photos in `folder`; return what is of use, and a line for each fault.

    `mask_name` is how masks are called, with {} for the photo's name without its suffix.
    """
    images = list_images(folder)
    masked = stems_of_masks(images, mask_name)
    photos, faults = readable([path for path in images if path not in masked])
    stems = {path.stem for path in images if path not in masked}
    faults += [f"{path}: is the mask of no photo" for path in masked if masked[path] not in stems]
    masks = {path: folder / mask_name.replace("{}", path.stem) for path in photos if mask_name}
    masks = {photo: mask for photo, mask in masks.items() if mask.is_file()}
    if not (photos if mask_name is None else masks):
        faults.append(f"{folder}: no photos in it{' that have masks' if mask_name else ''}")
    return Place(folder.resolve().name, photos, masks), faults


def stems_of_masks(images: list[Path], mask_name: str | None) -> dict[Path, str]:
    """Return which of the images are masks by their names, and the stems of their photos."""
    if mask_name is None:
        return {}
    pattern = re.escape(mask_name).replace(re.escape("{}"), "(.+)", 1)
    matches = {path: re.fullmatch(pattern, path.name) for path in images}
    return {path: match[1] for path, match in matches.items() if match}


def readable(paths: list[Path]) -> tuple[list[Path], list[str]]:
    """Return the photos that can be read, and a line for each that is left out.

    Second copies are left out as well: as references they would give the truth away.
    """
    photos, faults, seen = [], [], {}
    for path in paths:
        try:
            read_photo(path)
        except UserError as error:
            faults.append(str(error))
            continue
        traits = (path.stem, file_hash(path))
        twin = next((seen[trait] for trait in traits if trait in seen), None)
        if twin:
            faults.append(f"{path}: has the name or the content of {twin.name}")
        else:
            photos.append(path)
            seen |= dict.fromkeys(traits, path)
    return photos, faults


def neighbours(place: Place, photo: Path, most: int) -> list[Path]:
    """Return up to `most` other photos without a mask, the nearest in the order of names.

    Raises `UserError` if there are none.
    """
    at = place.photos.index(photo)
    others = [
        (abs(number - at), other)
        for number, other in enumerate(place.photos)
        if other != photo and other not in place.masks
    ]
    if not others:
        raise UserError(f"{photo}: needs a reference: another photo of the place without a mask")
    return [other for _, other in sorted(others)[:most]]


def masked_scenes(place: Place, most_references: int) -> dict[str, Recipe]:
    """Return a recipe for each photo that has a mask, by the scene's name."""

    def write(photo: Path, folder: Path) -> None:
        target, mask = load_target(photo, place.masks[photo])
        write_photos(folder, neighbours(place, photo, most_references), target=target, mask=mask)

    return {f"{place.name}-{photo.stem}": partial(write, photo) for photo in place.masks}


def scenes_with_holes(
    place: Place, kind: str, seed: int, most_references: int
) -> dict[str, Recipe]:
    """Return a recipe for each photo with holes of a `kind` of `HOLES`, by the scene's name.

    A scene's hole depends on its name, the photo's size, the kind and the seed alone.
    """

    def write(name: str, photo: Path, folder: Path) -> None:
        truth = read_photo(photo)
        mask = HOLES[kind](truth.size, Random(derive_seed(seed, name, kind)))
        target = Image.composite(Image.new("RGB", truth.size), truth, mask)
        references = neighbours(place, photo, most_references)
        write_photos(folder, references, target=target, mask=mask, gt=truth)

    names = {f"{place.name}-{photo.stem}": photo for photo in place.photos}
    return {name: partial(write, name, photo) for name, photo in names.items()}


def write_photos(folder: Path, references: list[Path], **images: Image.Image) -> None:
    """Write a scene: `images` into target/ by their names, copies of the references into ref/.

    The images are upright, so that mask and photo fit whatever the photo's EXIF orientation was.
    """
    for name in ("ref", "target"):
        (folder / name).mkdir()
    for name, image in images.items():
        write_image(folder / "target" / f"{name}.png", image)
    for path in references:
        shutil.copyfile(path, folder / "ref" / path.name)


def photo_scenes(
    source: Path, mask_name: str | None, holes: str, seed: int, most_references: int
) -> tuple[dict[str, Recipe], list[str]]:
    """Return a recipe for each scene that the photos in `source` give, and a line for each fault.

    Give `mask_name`, and the targets are the photos that have such a mask; or `holes`, and all
    photos are targets in turn, with drawn holes of this kind.
    Raises `UserError` if there are no photos.
    """
    recipes, faults = {}, []
    for folder in find_places(source):
        try:
            place, its_faults = read_place(folder, mask_name)
        except UserError as error:
            faults.append(str(error))
            continue
        faults += its_faults
        if mask_name:
            its_own = masked_scenes(place, most_references)
        else:
            its_own = scenes_with_holes(place, holes, seed, most_references)
        twice = recipes.keys() & its_own.keys()
        faults += [f"{folder}: another place has a scene {name}, too" for name in sorted(twice)]
        recipes = its_own | recipes
    return recipes, faults
