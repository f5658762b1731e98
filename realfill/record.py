"""Who made what is in a folder: a script replaces only files that its record names as its own."""

import json
import os
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from realfill.errors import UserError

LORA_FILE = "pytorch_lora_weights.safetensors"
RECORD_FILE = "realfill.json"
LIBRARIES = ("torch", "diffusers", "transformers", "peft", "accelerate", "safetensors")
RANKING_FILE = "loftr_ranking_scores.json"
SHEET_FILE = "ranking.png"
MODEL_FILES = (LORA_FILE, "model_index.json", "state.json")
"""What tells a folder with a model, or a checkpoint, from one with completions."""


def read_record(folder: Path) -> dict[str, Any]:
    """Read the `realfill.json` of `folder`, or return an empty record if there is none.

    Raises `UserError` if it is damaged.
    """
    path = folder / RECORD_FILE
    if not path.is_file():
        return {}
    try:
        record = json.loads(path.read_text("utf-8"))
        check_shape(record)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: damaged ({error}); delete it or make the folder anew") from None
    return record


def check_shape(record: Any) -> None:
    """Raise ValueError if `record` does not hold what the scripts read from one."""
    if not isinstance(record, dict):
        raise ValueError("not a record")
    shapes = {"settings": dict, "identity": dict, "base_fingerprints": dict, "files": list}
    shapes |= {"completions": dict, "provenance": dict}
    shapes |= dict.fromkeys(("base", "prompt", "script", "scene", "lora_sha256"), str)
    shapes |= dict.fromkeys(("base_folder", "revision"), str | None)
    wrong = [
        name
        for name, kind in shapes.items()
        if name in record and not isinstance(record[name], kind)
    ]
    if not wrong:
        settings = record.get("settings", {})
        wrong = [name for name in ("seed", "resolution") if type(settings.get(name, 1)) is not int]
    if wrong:
        raise ValueError(f"unusable {', '.join(wrong)}")


def made_by(record: dict[str, Any]) -> str | None:
    """Return the script that wrote `record`, also if that was before records said so."""
    if "model_path" in record or record.get("settings", {}).get("geometry"):
        return record.get("script", "infer.py")
    return record.get("script", "train_realfill.py" if "identity" in record else None)


def claim(folder: Path, script: str, names: Iterable[str]) -> list[str]:
    """Return all names in `folder` that are the script's own from now on, for its record.

    Raises `UserError` if one of `names` is there already and the record of `folder` does not name
    it as the script's own. Records of earlier releases name no files: there, all `names` are its.
    """
    names, record = list(names), read_record(folder)
    owner = made_by(record)
    if record and owner != script:
        raise UserError(
            f"{folder}: holds what {owner or 'another program'} made; choose another --output_dir"
        )
    own = record.get("files", names if record else [])
    own = [name for name in own if isinstance(name, str) and Path(name).name == name]
    for name in names:
        if os.path.lexists(folder / name) and name not in own:
            raise UserError(
                f"{folder / name}: was not made by {script}, which never replaces what it did not "
                "make; choose another --output_dir"
            )
    return sorted({*own, *names})


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


def library_versions(names: tuple[str, ...] = LIBRARIES) -> dict[str, str]:
    """Return the versions of the libraries that decide what comes out."""
    versions = {}
    for name in names:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "unknown"
    return versions


def claim_ranking(folder: Path, ranking_file: str) -> None:
    """Raise `UserError` if writing a ranking into `folder` would replace what is none."""
    if Path(ranking_file).name != ranking_file or not ranking_file.endswith(".json"):
        raise UserError(f"--ranking_output_file {ranking_file}: give the name of a .json file")
    ranked = any(is_ranking(path) for path in folder.glob("*.json"))
    path = folder / ranking_file
    if path.exists() and not is_ranking(path):
        raise UserError(f"{path}: is no ranking; remove it, or name another --ranking_output_file")
    sheet = folder / SHEET_FILE
    if sheet.exists() and not (ranked or SHEET_FILE in read_record(folder).get("files", ())):
        raise UserError(f"{sheet}: was there before any ranking; move it away")


def is_ranking(path: Path) -> bool:
    """Say whether `path` is a ranking file; a damaged one is not."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and content.keys() >= {"metadata", "ranking"}
