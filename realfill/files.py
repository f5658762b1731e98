"""Writing files so that they appear whole or not at all, and telling them apart."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from realfill.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor


@contextmanager
def appears_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`; rename it to `path` when the block ends well.

    What was written under the temporary name, a file or a folder, is removed when it does not.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, content: Any) -> None:
    """Write `content` to `path` as indented JSON."""
    with appears_whole(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")


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
    """Make `folder` where it is missing. Raises `UserError` where nothing can be written there."""
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
