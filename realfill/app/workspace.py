"""Where the app keeps scenes and what is made of them: ordinary folders, which the scripts read.

WORKSPACE/scenes/NAME     a scene folder
WORKSPACE/looked/NAME     what geometry alone shows, by infer.py
WORKSPACE/filled/NAME     completions from the references, by complete_scenes.py
WORKSPACE/trained/NAME    a model and its completions, by complete_scenes.py
"""

import shutil
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image

from realfill.errors import UserError
from realfill.geometry.files import PICTURES, RECORD
from realfill.images.blend import scale_mask
from realfill.images.read import opened, read_mask, read_photo
from realfill.record import RECORD_FILE
from realfill.scene import find_image, list_images, load_scene
from realfill.scenes.plan import COMPLETIONS, MODEL
from realfill.storage import appears_whole, write_image

SCENES, LOOKED, FILLED, TRAINED = "scenes", "looked", "filled", "trained"
PREVIEW = 2048
"""Longest side in pixels of what is shown."""
PAINTED = 1280
"""The same of what is painted on: browsers give back very large canvases black, and need many
seconds for 2048 pixels if they have no graphics card."""
SAME = 0.002
"""Share of a mask's pixels that may differ for it to be the same, drawn at another size."""
SUFFIXES = {"JPEG": ".jpg", "MPO": ".jpg", "PNG": ".png", "WEBP": ".webp", "TIFF": ".tiff"}
"""Formats whose files are kept as they came; others are kept as PNG."""


def scene_folder(workspace: Path, name: str) -> Path:
    """Return the folder of a scene."""
    return workspace / SCENES / name


def result_folder(workspace: Path, kind: str, name: str) -> Path:
    """Return the folder of completions of one of `LOOKED`, `FILLED` and `TRAINED`."""
    folder = workspace / kind / name
    return folder if kind == LOOKED else folder / COMPLETIONS


def model_folder(workspace: Path, name: str) -> Path:
    """Return the folder of the model that was trained on a scene."""
    return workspace / TRAINED / name / MODEL


def hand_over_geometry(workspace: Path, kind: str, name: str) -> None:
    """Give what a look at the references found to a folder of completions that is not there yet.

    If it cannot be written, the work itself will say so.
    """
    looked = result_folder(workspace, LOOKED, name)
    folder = result_folder(workspace, kind, name)
    if folder.exists() or not (looked / RECORD).exists():
        return
    with suppress(OSError), appears_whole(folder) as temporary:
        temporary.mkdir(parents=True)
        for part in (RECORD_FILE, RECORD, *PICTURES):
            if (looked / part).exists():
                shutil.copyfile(looked / part, temporary / part)


def list_scenes(workspace: Path) -> list[str]:
    """Return the names of the scenes, the newest first."""
    folder = workspace / SCENES
    found = [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    return [path.name for path in sorted(found, key=lambda path: -path.stat().st_mtime)]


def describe(workspace: Path, name: str) -> str:
    """Return the name of a scene with what was made of it."""
    made = {
        FILLED: result_folder(workspace, FILLED, name),
        TRAINED: result_folder(workspace, TRAINED, name),
    }
    done = [kind for kind, folder in made.items() if (folder / "best.png").exists()]
    return f"{name} ({', '.join(done)})" if done else name


def free_name(workspace: Path, stem: str) -> str:
    """Return a name that no scene has: `stem-1`, `stem-2` and so on."""
    taken = set(list_scenes(workspace))
    return next(name for n in range(1, 10**6) if (name := f"{stem}-{n}") not in taken)


def new_scene(workspace: Path, photo: Path) -> str:
    """Make a scene of an uploaded photo and return its name. Raises `UserError` for no photo."""
    name = free_name(workspace, "photo")
    keep_photo(photo, scene_folder(workspace, name) / "target", "target")
    return name


def copy_scene(workspace: Path, folder: Path) -> str:
    """Copy a scene folder into the workspace and return its name.

    Raises `UserError` if it is none, or its photos are of no use.
    """
    scene = load_scene(folder)
    name = free_name(workspace, "".join(c if c.isalnum() else "-" for c in scene.name) or "scene")
    with appears_whole(scene_folder(workspace, name)) as temporary:
        for part in ("ref", "target"):
            (temporary / part).mkdir(parents=True)
        for path in list_images(folder / "ref"):
            shutil.copyfile(path, temporary / "ref" / path.name)
        for stem in ("target", "mask"):
            path = find_image(folder / "target", stem)
            shutil.copyfile(path, temporary / "target" / path.name)
    return name


def editable(workspace: Path, name: str) -> str:
    """Return the scene itself, or the name of a copy if something was made of it already.

    So what was made stays what it was made of.
    """
    results = [workspace / kind / name for kind in (FILLED, TRAINED)]
    if not any(folder.exists() for folder in results):
        return name
    stem = name.rsplit("-", 1)[0]
    copy = free_name(workspace, stem)
    with appears_whole(scene_folder(workspace, copy)) as temporary:
        shutil.copytree(scene_folder(workspace, name), temporary)
    return copy


def keep_photo(upload: Path, folder: Path, stem: str) -> None:
    """Keep an uploaded photo as `folder`/`stem`, byte for byte if its format is a usual one.

    Raises `UserError` if it cannot be read.
    """
    photo = read_photo(upload)
    with opened(upload) as image:
        suffix = SUFFIXES.get(image.format or "")
    folder.mkdir(parents=True, exist_ok=True)
    if suffix is None:
        write_image(folder / f"{stem}.png", photo)
        return
    with appears_whole(folder / f"{stem}{suffix}") as temporary:
        shutil.copyfile(upload, temporary)


def photo_of(workspace: Path, name: str) -> Image.Image:
    """Return the photo of a scene, upright, RGB."""
    return read_photo(find_image(scene_folder(workspace, name) / "target", "target"))


def mask_of(workspace: Path, name: str) -> Image.Image | None:
    """Return the mask of a scene, L, or None if nothing was painted yet."""
    folder = scene_folder(workspace, name) / "target"
    return read_mask(find_image(folder, "mask")) if list(folder.glob("mask.*")) else None


def references_of(workspace: Path, name: str) -> list[Path]:
    """Return the files of the references of a scene."""
    folder = scene_folder(workspace, name) / "ref"
    return list_images(folder) if folder.is_dir() else []


def add_references(workspace: Path, name: str, uploads: list[Path]) -> tuple[str, list[str]]:
    """Add uploaded photos to the references; return the scene's name and what was wrong with any.

    One photo that cannot be read leaves the others.
    """
    faults, wanted = [], []
    for upload in uploads:
        try:
            read_photo(upload)
            wanted.append(upload)
        except UserError as error:
            faults.append(str(error).replace(f"{upload}", upload.name))
    if not wanted:
        return name, faults
    name = editable(workspace, name)
    numbers = [int(path.stem) for path in references_of(workspace, name) if path.stem.isdecimal()]
    for number, upload in enumerate(wanted, start=max(numbers, default=0) + 1):
        keep_photo(upload, scene_folder(workspace, name) / "ref", str(number))
    return name, faults


def remove_reference(workspace: Path, name: str, index: int) -> str:
    """Remove a reference by its place in the list; return the scene's name."""
    name = editable(workspace, name)
    references_of(workspace, name)[index].unlink()
    return name


def write_mask(workspace: Path, name: str, painted: Image.Image) -> str:
    """Make what was painted on the preview the mask; return the scene's name.

    `painted` is L, 255 where painted, of the preview's size. Raises `UserError` if nothing is
    painted, or everything.
    """
    size, before = photo_of(workspace, name).size, mask_of(workspace, name)
    if painted.getextrema() == (0, 0):
        raise UserError("Nothing is painted yet: paint over what should go, then try again.")
    if painted.getextrema() == (255, 255):
        raise UserError("Everything is painted: leave something of the photo unpainted.")
    if before is not None:
        now = np.asarray(painted) > 127
        differs = now ^ (np.asarray(scale_mask(before, painted.size)) > 0)
        if differs.sum() < SAME * now.sum():
            return name  # it was painted before, perhaps more finely than the preview is
    mask = scale_mask(painted, size)
    name = editable(workspace, name)
    folder = scene_folder(workspace, name) / "target"
    write_image(folder / "mask.png", mask)
    for other in folder.glob("mask.*"):
        if other.name != "mask.png":
            other.unlink()
    return name


def extend(workspace: Path, name: str, sides: tuple[int, int, int, int]) -> str:
    """Extend the photo's canvas, and make the new part the mask; return the scene's name.

    `sides` are left, top, right, bottom in percent of the photo's width and height. Raises
    `UserError` if all are zero.
    """
    photo, mask = photo_of(workspace, name), mask_of(workspace, name)
    left, right = (round(photo.width * sides[side] / 100) for side in (0, 2))
    top, bottom = (round(photo.height * sides[side] / 100) for side in (1, 3))
    size = (photo.width + left + right, photo.height + top + bottom)
    if size == photo.size:
        raise UserError("Say by how much to extend: move one of the sliders, then try again.")
    name = editable(workspace, name)
    folder = scene_folder(workspace, name) / "target"
    canvas, hole = Image.new("RGB", size), Image.new("L", size, 255)
    canvas.paste(photo, (left, top))
    hole.paste(mask or 0, (left, top, left + photo.width, top + photo.height))
    old = [path for path in folder.iterdir() if path.suffix != ".partial"]
    write_image(folder / "extended.png", canvas)
    write_image(folder / "extended-mask.png", hole)
    for path in old:
        path.unlink()
    (folder / "extended.png").rename(folder / "target.png")
    (folder / "extended-mask.png").rename(folder / "mask.png")
    return name
