"""What a task is learned from: samples drawn from photos, or from scenes with several views."""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from realfill.canvas.objects import Labels, find_objects
from realfill.canvas.shapes import (
    random_blob,
    random_crop,
    random_views,
    recolour,
    same_crops,
    shifted,
)
from realfill.errors import UserError
from realfill.images.read import has_image_suffix, read_photo
from realfill.images.tensors import to_tensor
from realfill.training.crops import Batch
from realfill.training.masks import random_masks

PHOTOS_KEPT = 64
LEAST_AREA = 0.002
"""Of the picture: a smaller piece of an object is no hole to learn from."""


@dataclass(frozen=True)
class TaskPhotos:
    """Photos to draw a task's samples from."""

    task: str
    groups: list[list[Path]]
    """Photos of one place each: a scene's references, or one photo alone."""
    objects: dict[Path, Labels]
    """What reads a photo's label map, if it has one."""
    device: torch.device

    def digest(self) -> str:
        """Return a hash of the names and sizes of all photos, and of which have objects."""
        said = "\n".join(
            f"{path.parent.name}/{path.name} {path.stat().st_size} {path in self.objects}"
            for group in self.groups
            for path in group
        )
        return hashlib.sha256(said.encode()).hexdigest()

    def draw(self, count: int, size: int, generator: torch.Generator) -> Batch:
        """Draw `count` samples of the height `size`: canvases for "reference", else squares."""
        drawn = [self.draw_one(size, generator) for _ in range(count)]
        images, masks, goals = (torch.stack(part) for part in zip(*drawn, strict=True))
        images, masks, goals = (part.to(self.device) for part in (images, masks, goals))
        changes = self.task == "harmonization"
        return Batch(images, masks, torch.zeros_like(masks), goals if changes else None)

    def draw_one(
        self, size: int, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Draw a photo `(3, size, W)` in [-1, 1], its mask `(1, size, W)` and its goal."""
        random = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))
        group = self.groups[random.integers(len(self.groups))]
        if self.task == "reference":
            if len(group) > 1:
                pair = [group[k] for k in random.permutation(len(group))[:2]]
                views = [random_crop(pixels(path), size, random) for path in pair]
            else:
                views = random_views(pixels(group[0]), size, random, 2)
            image = normal(np.concatenate(views, 1))
            hole = random_masks(1, size, generator)[0]
            return image, torch.cat([torch.zeros_like(hole), hole], -1), image
        path = group[random.integers(len(group))]
        photo, thing = self.crop_with_object(path, size, random)
        mask = torch.from_numpy(self.mask_for(thing, size, random)[None]).float()
        image = normal(photo)
        if self.task == "harmonization":
            changed = torch.where(mask > 0, normal(recolour(photo, random)), image)
            return changed, mask, image
        return image, mask, image

    def crop_with_object(
        self, path: Path, size: int, random: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Return a crop of a photo, and one of its objects there, bool; None if none is known."""
        photo = pixels(path)
        if path not in self.objects:
            return random_crop(photo, size, random), None
        labels = self.objects[path]()
        if labels.shape != photo.shape[:2]:
            raise UserError(f"{path}: its annotation is of another size; give the photos it is of")
        crop, labels = same_crops([photo, labels], size, random)
        known = [k for k in np.unique(labels) if k and (labels == k).mean() > LEAST_AREA]
        return crop, labels == random.choice(known) if known else None

    def mask_for(
        self, thing: np.ndarray | None, size: int, random: np.random.Generator
    ) -> np.ndarray:
        """Return what is to be filled, bool `(S, S)` (SEELE, arXiv 2401.16861, section 3).

        For "removal" an object's shape elsewhere, without the object; for "completion" the part of
        it that a random shape hides; for "harmonization" all of it. Without an object, any shape.
        """
        blob = random_blob(size, random)
        if thing is None:
            return blob
        if self.task == "removal":
            found, instead = shifted(thing, random) & ~thing, blob & ~thing
        else:
            found, instead = thing & blob, thing
        whole = self.task == "harmonization" or found.mean() < LEAST_AREA
        return instead if whole else found


@lru_cache(PHOTOS_KEPT)
def pixels(path: Path) -> np.ndarray:
    """Return a photo as uint8 `(H, W, 3)`. Raises `UserError`."""
    return np.asarray(read_photo(path))


def normal(photo: np.ndarray) -> torch.Tensor:
    """Return uint8 `(H, W, 3)` as `(3, H, W)` in [-1, 1]."""
    return to_tensor(photo) * 2 - 1


def find_photos(folder: Path, task: str, objects: Path | None, device: torch.device) -> TaskPhotos:
    """Find what `folder` has to learn `task` from: scene folders, or photos.

    `objects` says where their objects are, see `find_objects`. Raises `UserError`.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give a folder of photos or of scene folders")
    groups = [photos_in(place) for place in sorted(folder.glob("*/ref"))]
    groups = [group for group in groups if group] or [[path] for path in photos_in(folder)]
    if not groups:
        raise UserError(f"{folder}: no photos and no scene folders with ref/ in it")
    every = [path for group in groups for path in group]
    found = {} if objects is None else find_objects(objects, every)
    return TaskPhotos(task, groups, found, device)


def photos_in(folder: Path) -> list[Path]:
    """Return the photos of `folder` itself, in order of their names."""
    return sorted(path for path in folder.iterdir() if has_image_suffix(path))
