"""realfill.json: who made what is in a folder. A script replaces only files that it made."""

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import UnionType
from typing import Any, Self, get_origin, get_type_hints

from realfill import __version__
from realfill.errors import UserError
from realfill.settings import PROMPT
from realfill.storage import write_json

LORA_FILE = "pytorch_lora_weights.safetensors"
RECORD_FILE = "realfill.json"
VALIDATIONS = "validation"
"""The folder of pictures, `step-N.png`, of what a model made while it was trained."""
LIBRARIES = ("torch", "diffusers", "transformers", "peft", "accelerate", "safetensors")
MODEL_FILES = (LORA_FILE, "model_index.json", "state.json")
"""What tells a folder with a model, or a checkpoint, from one with completions."""
UNKNOWN = "another program"


@dataclass(frozen=True, kw_only=True)
class Record:
    """What every realfill.json says. An entry that a file lacks has its default here."""

    script: str | None = None
    """The script that made the folder's files; None if there is no record."""
    files: list[str] | None = None
    """Names in the folder that are the script's own; None in records of earlier releases."""
    scene: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    """All that decides what comes out, besides the photos and the weights."""
    versions: dict[str, str] = field(default_factory=dict)
    """Of this package and of the libraries."""

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the record of `folder`, or return one of defaults if there is none.

        Entries not known here are passed over. Raises `UserError` if it is damaged.
        """
        path = folder / RECORD_FILE
        if not path.is_file():
            return cls()
        try:
            content = json.loads(path.read_text("utf-8"))
            check_shape(content, cls)
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(
                f"{path}: damaged ({error}); delete it or make the folder anew"
            ) from None
        names = [each.name for each in fields(cls) if each.name in content]
        known: dict[str, Any] = {name: content[name] for name in names}
        if known.get("files") is not None:
            known["files"] = [name for name in known["files"] if is_plain_name(name)]
        known["script"] = made_by(content)
        return cls(**known)

    def write(self, folder: Path) -> None:
        """Write the record into `folder`."""
        write_json(folder / RECORD_FILE, asdict(self))

    @property
    def seed(self) -> int | None:
        """The seed of all draws, if there were any."""
        return self.settings.get("seed")


@dataclass(frozen=True, kw_only=True)
class TrainingRecord(Record):
    """What a training run writes down of its LoRA file."""

    base: str | None = None
    """The base as it was asked for, a folder or a hub id."""
    base_folder: str | None = None
    """The folder of the base, if it is on this machine."""
    revision: str | None = None
    prompt: str = PROMPT
    steps: int = 0
    identity: dict[str, str] = field(default_factory=dict)
    """Hashes of the base and the scene."""
    base_fingerprints: dict[str, str] = field(default_factory=dict)
    """The base's hash by precision."""
    lora_sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class PartRecord(Record):
    """What the training of a part for a base, from a folder of photos, writes down of it."""

    base: str | None = None
    """The base as it was asked for, a folder or a hub id."""
    base_fingerprints: dict[str, str] = field(default_factory=dict)
    """By precision, the hash of what of the base the part belongs to."""
    steps: int = 0
    """That it was trained for; 0 until it is finished."""


@dataclass(frozen=True, kw_only=True)
class CompletionsRecord(Record):
    """What infer.py writes down of a folder of completions."""

    model_path: str | None = None
    base_only: bool = False
    num_images: int | None = None
    """How many completions were asked for so far; None in records of earlier releases."""
    completions: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By number, if each has its own: what the judge knows of it, and its provenance."""
    provenance: dict[str, float] = field(default_factory=dict)
    """Shares of the hole by origin, of the best completion."""


def library_versions(names: tuple[str, ...] = LIBRARIES) -> dict[str, str]:
    """Return the versions of the libraries that decide what comes out."""
    versions = {}
    for name in names:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "unknown"
    return versions


def all_versions() -> dict[str, str]:
    """Return the versions of this package and of the libraries."""
    return {"realfill": __version__} | library_versions()


def check_shape(content: Any, kind: type[Record]) -> None:
    """Raise ValueError if `content` does not hold what `kind` reads from a record."""
    if not isinstance(content, dict):
        raise ValueError("not a record")
    hints = get_type_hints(kind)
    wrong = [
        name
        for name, hint in hints.items()
        if name in content and not isinstance(content[name], plain(hint))
    ]
    if not wrong:
        settings = content.get("settings", {})
        wrong = [name for name in ("seed", "resolution") if type(settings.get(name, 1)) is not int]
    if wrong:
        raise ValueError(f"unusable {', '.join(wrong)}")


def plain(hint: Any) -> Any:
    """Return a type hint as `isinstance` takes it: without the types of what it holds."""
    if isinstance(hint, UnionType):
        return tuple(plain(each) for each in hint.__args__)
    return get_origin(hint) or hint


def is_plain_name(name: Any) -> bool:
    """Say whether `name` names something in a folder itself, not beyond it."""
    return isinstance(name, str) and Path(name).name == name


def made_by(content: dict[str, Any]) -> str | None:
    """Return the script that wrote a realfill.json, also if that was before records said so."""
    if not content:
        return None
    if "model_path" in content or content.get("settings", {}).get("geometry"):
        return content.get("script") or "infer.py"
    return content.get("script") or ("train_realfill.py" if "identity" in content else UNKNOWN)


def claim(folder: Path, script: str, names: Iterable[str]) -> list[str]:
    """Return all names in `folder` that are the script's own from now on, for its record.

    Raises `UserError` if one of `names` is there already and the record of `folder` does not name
    it as the script's own. Records of earlier releases name no files: there, all `names` are its.
    """
    names, record = list(names), Record.read(folder)
    if record.script not in (None, script):
        raise UserError(f"{folder}: holds what {record.script} made; choose another --output_dir")
    own = record.files or []
    if record.script and record.files is None:
        own = names
    for name in names:
        if os.path.lexists(folder / name) and name not in own:
            raise UserError(
                f"{folder / name}: was not made by {script}, which never replaces what it did not "
                "make; choose another --output_dir"
            )
    return sorted({*own, *names})


def holds_another(record: Record, folder: Path, what: str, overwrite: bool) -> bool:
    """Say whether the same script left something in `folder` with other settings than `record`'s.

    Raises `UserError`, calling it `what`, unless it may be overwritten.
    """
    before = Record.read(folder)
    differs = bool(before.script) and before.settings != record.settings
    if differs and not overwrite:
        raise UserError(
            f"{folder}: holds another {what}; give --overwrite, or another --output_dir"
        )
    return differs


def refuse_scene(output_dir: Path, scene: Path | None) -> None:
    """Raise `UserError` if `output_dir` is a scene, or lies among the photos of one.

    `scene` is the one that the run reads; others are told by their `ref/` and `target/`.
    """
    place = output_dir.resolve()
    photos = [scene / "ref", scene / "target"] if scene else []
    within = {folder.resolve() for folder in photos} & {place, *place.parents}
    for folder in (place, *place.parents):
        if (folder / "ref").is_dir() and (folder / "target").is_dir():
            below = place.relative_to(folder).parts
            within |= {folder} if not below or below[0] in ("ref", "target") else set()
    if within:
        raise UserError(
            f"{output_dir}: belongs to a scene, whose photos stay as they are; choose another "
            "--output_dir"
        )


def refuse_model(output_dir: Path) -> None:
    """Raise `UserError` if `output_dir` is a folder with a model or a checkpoint."""
    if any((output_dir / name).exists() for name in MODEL_FILES):
        raise UserError(
            f"{output_dir}: holds a model; choose another --output_dir for the completions"
        )
