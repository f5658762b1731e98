"""Writing files so that they appear whole or not at all, and telling them apart."""

import hashlib
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from realfill.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

REPLACEMENT = ".replacement"
"""The folder of files that are all there and only have to take the places of the old ones."""
OUTDATED = ".outdated.json"
"""In it, the names of old files that nothing replaces."""
UMASK = os.umask(0)
os.umask(UMASK)  # it can only be read by setting it


def temporary_name(path: Path) -> Path:
    """Return a random name beside `path`, hidden, which `clear_partial_writes` recognizes."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial{path.suffix}")


@contextmanager
def appears_whole(path: Path, new: bool = False) -> Iterator[Path]:
    """Yield a temporary name beside `path`; rename it to `path` when the block ends well.

    What was written under the temporary name, a file or a folder, is removed when it does not.
    With `new`, a file `path` that is there already is not replaced: raises FileExistsError.
    """
    temporary = temporary_name(path)
    try:
        yield temporary
        if temporary.is_file():
            os.chmod(temporary, 0o666 & ~UMASK)  # some libraries keep their files to the owner
        if new:
            temporary.rename(path) if os.name == "nt" else os.link(temporary, path)
            temporary.unlink(missing_ok=True)
        else:
            os.replace(temporary, path)
    except BaseException:
        remove(temporary)
        raise


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there and can be removed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def clear_partial_writes(folder: Path) -> None:
    """Remove what a killed run was writing in `folder`. Its lock must be held."""
    for pattern in (".*.partial*", ".matches/.*.partial*"):
        for path in folder.glob(pattern):
            remove(path)


@contextmanager
def replaced_together(folder: Path, outdated: Iterable[str] = ()) -> Iterator[Path]:
    """Yield an empty folder; what is written into it takes the places in `folder` at the end.

    Until all is there, `folder` stays as it is. The names in `outdated` that nothing replaces are
    removed from it. Killed in between, `finish_replacement` goes on.
    """
    with appears_whole(folder / REPLACEMENT) as temporary:
        temporary.mkdir(parents=True)
        yield temporary
        left = sorted(set(outdated) - {path.name for path in temporary.iterdir()})
        (temporary / OUTDATED).write_text(json.dumps(left), "utf-8")
    finish_replacement(folder)


def finish_replacement(folder: Path) -> None:
    """Let what `replaced_together` has made ready take its places."""
    ready = folder / REPLACEMENT
    if not (ready / OUTDATED).is_file():
        return
    for name in json.loads((ready / OUTDATED).read_text("utf-8")):
        remove(folder / name)
    for path in sorted(ready.iterdir()):
        if path.name != OUTDATED:
            if path.is_dir():
                remove(folder / path.name)
            os.replace(path, folder / path.name)
    shutil.rmtree(ready)


def write_text(path: Path, text: str, newline: str | None = None) -> None:
    """Write `text` to `path` as UTF-8; bytes of a path that are none are written as escapes."""
    with appears_whole(path) as temporary:
        temporary.write_text(text, "utf-8", errors="backslashreplace", newline=newline)


def write_json(path: Path, content: Any) -> None:
    """Write `content` to `path` as indented JSON."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def write_image(path: Path, image: Image.Image) -> None:
    """Write `image` to `path` in the format of its suffix.

    A PNG is compressed lightly: at Pillow's usual level it is a tenth smaller, and takes four
    times as long to write.
    """
    with appears_whole(path) as temporary:
        image.save(temporary, compress_level=1)


def write_tensors(path: Path, tensors: "dict[str, Tensor]") -> None:
    """Write `tensors` to `path` as safetensors."""
    from safetensors.torch import save_file  # brings torch, which only some scripts need

    with appears_whole(path) as temporary:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary)


def require_writable(folder: Path) -> None:
    """Make `folder` if it is missing. Raises `UserError` if nothing can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"\0" * 4096)
    except OSError as error:
        raise UserError(
            f"{folder}: cannot write there ({error.strerror}); choose another --output_dir"
        ) from None


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def put_folder(folder: Path, write: Callable[[Path], None]) -> bool:
    """Let `write` fill a new folder and name it `folder`, unless that is there.

    Returns False if what is there differs from what was written.
    """
    temporary = temporary_name(folder)
    try:
        temporary.mkdir()
        write(temporary)
        if not os.path.lexists(folder):
            os.replace(temporary, folder)
            return True
        return contents(folder) == contents(temporary)
    finally:
        remove(temporary)


def contents(folder: Path) -> dict[str, str]:
    """Return the hashes of the files in `folder` by their paths in it."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): file_hash(path) for path in files}
