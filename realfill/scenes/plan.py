"""What is done with each scene, and how it is known that it was done."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from realfill.completing.job import Job
from realfill.errors import UserError
from realfill.record import Record
from realfill.sampling.folder import BEST_FILE, CONTACT_SHEET, numbered
from realfill.scene import list_folder, load_scene, load_truth
from realfill.settings import TrainingFlags

SCRIPT = "complete_scenes.py"
MODEL, COMPLETIONS, REPORT = "model", "completions", "report"
"""Folders: of a scene's model and of its completions; of the scores of all scenes."""


@dataclass(frozen=True)
class Plan:
    """What is done with each scene. All its values can go to another machine."""

    output_dir: Path
    training: TrainingFlags
    """Its folders are set for each scene."""
    make_job: partial[Job]
    """Lacks the photos and the folders, which are set for each scene."""
    fill: str = "exemplar"
    """What fills what geometry leaves: "exemplar", "canvas", or "model" to train one first."""
    enough: float = 0.98
    """Share of the hole that geometry must know for no model to be trained; one completion, mostly
    from geometry and for the rest from exemplars, is enough then."""

    def folder(self, scene: Path) -> Path:
        """Return the folder of what is made of a scene."""
        return self.output_dir / name_of(scene)

    def job(self, scene: Path) -> Job:
        """Read the scene in the folder `scene` and return how to complete it.

        Raises `UserError` for a scene that is of no use.
        """
        return self.make_job(
            scene=load_scene(scene),
            output_dir=self.folder(scene) / COMPLETIONS,
            truth=load_truth(scene),
            scene_folder=scene,
        )

    def settings(self, scene: Path) -> dict[str, Any]:
        """Return what tells whether the same was done with the same photos before."""
        asked = self.make_job.keywords
        job = asked | {"overwrite": False, "model": asdict(asked["model"])}
        flags: dict[str, Any] = {"fill": self.fill, "enough": self.enough, "job": job}
        if self.fill == "model":
            flags["training"] = asdict(self.training)
        digest = hashlib.sha256(json.dumps(flags, sort_keys=True, default=str).encode())
        photos = [path for part in ("ref", "target") for path in (scene / part).glob("*")]
        return {"plan": digest.hexdigest(), "photos": stamps(scene, photos)}


@dataclass(frozen=True, kw_only=True)
class SceneRecord(Record):
    """What is written down of a scene when all is done."""

    known: float = 0.0
    """Share of the hole that geometry knows."""
    fill: str = ""
    """What filled the rest."""
    seconds: float = 0.0
    made: dict[str, list[int]] = field(default_factory=dict)
    """The completions by name; see `stamps`."""


def name_of(scene: Path) -> str:
    """Return the name of the scene in a folder."""
    return scene.resolve().name


def stamps(folder: Path, files: Iterable[Path]) -> dict[str, list[int]]:
    """Return the size and time of files by their paths in `folder`: none needs to be read."""
    found = {path.relative_to(folder).as_posix(): path.stat() for path in sorted(files)}
    return {name: [stat.st_size, stat.st_mtime_ns] for name, stat in found.items()}


def stamp_completions(folder: Path) -> dict[str, list[int]]:
    """Return the stamps of what a person wants of the completions in `folder`."""
    pictures = (folder / BEST_FILE, folder / CONTACT_SHEET)
    there = [path for path in pictures if path.exists()]
    return stamps(folder, [*numbered(folder), *there]) if folder.is_dir() else {}


def find_done(plan: Plan, scene: Path) -> SceneRecord | None:
    """Return the record of a scene if all was done with it, and all of that is there."""
    record = SceneRecord.read(plan.folder(scene))
    if record.script != SCRIPT or record.settings != plan.settings(scene):
        return None
    return record if record.made == stamp_completions(plan.folder(scene) / COMPLETIONS) else None


def find_scenes(scenes: list[Path], parent: Path | None) -> list[Path]:
    """Return the folders of the scenes, those given and those in `parent`, in their order.

    Raises `UserError` if there are none, or two of one name.
    """
    found = list(scenes)
    if parent:
        inside = [path for path in list_folder(parent) if not path.name.startswith(".")]
        found += [path for path in inside if (path / "ref").is_dir() or (path / "target").is_dir()]
        if not found:
            raise UserError(f"{parent}: no scene folders in it, with ref/ and target/")
    by_name: dict[str, Path] = {}
    for scene in found:
        name = name_of(scene)
        if name == REPORT:
            raise UserError(f"{scene}: the scores go to a folder of that name; rename the scene")
        if by_name.setdefault(name, scene).resolve() != scene.resolve():
            raise UserError(f"{scene}: {by_name[name]} has the same name; rename one of them")
    return list(by_name.values())
