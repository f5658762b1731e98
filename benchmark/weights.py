"""Where the weights of model metrics come from: a folder given by hand, or the hub.

`--model_dir` holds any of these; what it lacks comes from where the library takes it:

dino-vits16/               the files of facebook/dino-vits16 on the hub
clip-vit-base-patch32/     the files of openai/clip-vit-base-patch32 on the hub
lpips/                     torchvision's alexnet-owt-7be5be79.pth or vgg16-397923af.pth
dreamsim/                  dreamsim's cache folder, with checkpoints/dino_vitbase16_pretrain.pth
fid/                       torch-fidelity's weights-inception-2015-12-05-6726825d.pth

Weights in torch's own format are opened with `weights_only`, so that no file can run code. Nothing
here imports torch before a model is loaded: a run that finds all scores in its cache does without.
"""

import contextlib
import hashlib
import io
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.base import Options, Unavailable, in_parallel
from realfill.storage import file_hash

if TYPE_CHECKING:
    import torch


def local(options: Options, name: str) -> Path | None:
    """Return the file or folder `name` in `--model_dir`, or None if it is not there."""
    path = options.model_dir / name if options.model_dir else None
    return path if path and path.exists() else None


def identity(options: Options, name: str, default: str) -> str:
    """Return what tells these weights from others: the hash of what is in `--model_dir`.

    Where it is not there, `default`: published weights, which do not change under their name.
    """
    path = local(options, name)
    if path is None:
        return default
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    files = [file for file in files if file.is_file() and "__pycache__" not in file.parts]
    hashes = in_parallel(file_hash, files)
    names = [file.relative_to(path.parent).as_posix() for file in files]
    return hashlib.sha256(repr(list(zip(names, hashes, strict=True))).encode()).hexdigest()


def device() -> "torch.device":
    """Return the device to compute on: the GPU if there is one."""
    from realfill.devices import start_process

    return start_process().device


def read_weights(path: Path | None, url: str) -> "dict[str, torch.Tensor]":
    """Return the state dictionary in `path`, or the one at `url`, which is downloaded once."""
    import torch

    if path is not None:
        return torch.load(path, map_location="cpu", weights_only=True)
    return torch.hub.load_state_dict_from_url(
        url, map_location="cpu", weights_only=True, progress=False
    )


@contextlib.contextmanager
def loading(options: Options, name: str) -> Iterator[None]:
    """Quiet the libraries while a model is loaded; turn what goes wrong into `Unavailable`."""
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    except ImportError as error:
        raise Unavailable(
            f"{error.name or error} is not installed: pip install -r requirements-benchmarks.txt"
        ) from None
    except Exception as error:  # each library fails in its own way if there is no network
        found = local(options, name)
        place = str(found) if found else f"{name} is not in --model_dir and cannot be downloaded"
        reason = " ".join((str(error).splitlines() or [type(error).__name__])[0].split())
        raise Unavailable(f"{place}: {reason[:200]}") from None


def hub_name(options: Options, repository: str) -> str:
    """Return what `from_pretrained` is to load: the folder in `--model_dir`, or `repository`."""
    return os.fspath(local(options, repository.split("/")[-1]) or repository)
