"""RealBench as it is published: a zip archive with `RealBench/N/ref` and `RealBench/N/target`.

The archive is not trusted. Of a member's path only the scene's number, `ref` or `target`, and a
plain file name are used; links are refused, and so is what is larger than photos are.
"""

import re
import shutil
import stat
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PureWindowsPath

from realfill.datasets.write import Recipe
from realfill.errors import UserError
from realfill.images.read import has_image_suffix, read_photo
from realfill.scene import find_image, list_images, load_target

MEMBER = re.compile(r"(?:.*/)?RealBench/([0-9]+)/(.*[^/])", re.DOTALL)
"""A file of a scene: the scene's number and the path within the scene."""
TARGET_STEMS = ("target", "mask", "gt")
MOST_BYTES_A_FILE = 2**29
"""More than the pixels that `images/read.py` accepts take without compression."""
MOST_BYTES = 2**33
"""For all files together. Photos hardly shrink in an archive, and the published one is a release
file on GitHub, which are under 2 GiB."""
MOST_FILES = 10_000


@contextmanager
def realbench_scenes(path: Path) -> Iterator[dict[str, Recipe]]:
    """Yield a recipe for each scene of the archive `path`, by the scene's number.

    Raises `UserError` if the archive cannot be read, holds too much, or holds no scenes.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; give the published archive of RealBench")
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise UserError(f"{path}: damaged or not a zip archive ({error}); get it anew") from None
    with archive:
        scenes = defaultdict(list)
        for member in archive.infolist():
            if found := MEMBER.fullmatch(member.filename):
                scenes[found[1]].append((found[2], member))
        if not scenes:
            raise UserError(f"{path}: no RealBench/0/target in it; give RealBench's archive")
        sizes = [member.file_size for members in scenes.values() for _, member in members]
        unpacked = sum(size for size in sizes if size <= MOST_BYTES_A_FILE)
        if unpacked > MOST_BYTES or len(sizes) > MOST_FILES:
            raise UserError(
                f"{path}: would unpack to over {MOST_BYTES >> 30} GiB or {MOST_FILES} files; "
                "get it anew"
            )
        yield {
            number: partial(unpack_scene, archive, number, scenes[number])
            for number in sorted(scenes, key=int)
        }


def unpack_scene(
    archive: zipfile.ZipFile, number: str, members: list[tuple[str, zipfile.ZipInfo]], folder: Path
) -> None:
    """Unpack one scene into `folder`, byte for byte, and check that it can be used.

    Only photos in ref/, and the target, its mask and its truth, are unpacked. Raises `UserError`.
    """
    for name in ("ref", "target"):
        (folder / name).mkdir()
    for path, member in members:
        refuse_hostile(archive, member)
        if is_wanted(path):
            unpack_file(archive, member, folder / path)
    try:
        check_scene(folder)
    except UserError as error:
        inside = f"{archive.filename}: RealBench/{number}"
        raise UserError(str(error).replace(str(folder), inside)) from None


def check_scene(folder: Path) -> None:
    """Read the photos of a scene one at a time. Raises `UserError` if one cannot be used."""
    references = list_images(folder / "ref")
    if not references:
        raise UserError(f"{folder / 'ref'}: no photos in it")
    for path in references:
        read_photo(path)
    photos = [find_image(folder / "target", stem) for stem in TARGET_STEMS]
    target, _ = load_target(*photos[:2])
    if read_photo(photos[2]).size != target.size:
        raise UserError(f"{photos[2]}: not of the target's size")


def refuse_hostile(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    """Raise `UserError` if `member` is not a plain file of a photo's size within the archive."""
    fault = None
    parts = member.filename.split("/")
    if any(part in ("", ".", "..") or PureWindowsPath(part).name != part for part in parts):
        fault = "leaves its folder"
    elif stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG):
        fault = "is a link or not a plain file"
    elif member.file_size > MOST_BYTES_A_FILE:
        fault = f"would unpack to over {MOST_BYTES_A_FILE >> 20} MiB"
    elif member.flag_bits & 1:
        fault = "is encrypted"
    elif member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        fault = "is compressed in an unusual way"  # some of these take gigabytes of memory
    if fault:
        raise UserError(f"{archive.filename}: {member.filename} {fault}; get the archive anew")


def is_wanted(path: str) -> bool:
    """Say whether `path`, relative to a scene, is a file that a scene has."""
    folder, _, name = path.rpartition("/")
    if name.startswith(".") or not has_image_suffix(Path(name)):
        return False
    return folder == "ref" or (folder == "target" and name.split(".")[0] in TARGET_STEMS)


def unpack_file(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> None:
    """Write `member` to `path`. Raises `UserError` if it is damaged or there twice."""
    try:
        with archive.open(member) as packed, path.open("xb") as file:
            shutil.copyfileobj(packed, file)
    except FileExistsError:
        raise UserError(f"{archive.filename}: {member.filename} is in it twice") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError) as error:
        raise UserError(
            f"{archive.filename}: {member.filename} is damaged ({error}); get the archive anew"
        ) from None
