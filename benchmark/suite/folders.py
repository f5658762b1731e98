"""Finding the results folders of a results directory, and the scene that each belongs to.

RealBench-3-results, RealBench-3-results-fp32, Custom-1-results-gen …   of the two datasets
yard, yard-results, yard-results-SET                                    of a scene folder `yard`
yard/SET                                                                the same
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from realfill.errors import UserError
from realfill.scene import find_image

DATASET_NAME = re.compile(r"((RealBench|Custom)-(\d+))(-results.*)?")
FLAGS = {"RealBench": "--realbench_dataset_dir", "Custom": "--custom_dataset_dir"}


@dataclass(frozen=True)
class ResultsFolder:
    """The completions of one scene, `0.png`, `1.png` and so on.

    `dataset` is RealBench, Custom, or empty for a scene of one's own. `variant` is what sets this
    folder's settings apart: the suffix of its name, such as fp32, or the name of a subfolder.
    """

    name: str
    path: Path
    scene: str
    scene_folder: Path
    dataset: str = ""
    variant: str = ""
    given: tuple[Path, Path] | None = None
    """The truth and the mask, if they are not those of the scene folder."""

    @property
    def set_name(self) -> str:
        """The set of folders that it is one of: made alike, on scenes of one kind."""
        variant = "" if self.is_plain else self.variant
        return " ".join(filter(None, (self.dataset, variant))) or "results"

    @property
    def is_plain(self) -> bool:
        """Whether the name marks nothing out of the ordinary."""
        return self.variant.lower() in ("", "fp16")

    @property
    def is_fp32(self) -> bool:
        """Whether the name says that it was made in full precision, and nothing else."""
        return "fp32" in self.variant.lower() and "gen" not in self.variant.lower()

    @property
    def is_generated(self) -> bool:
        """Whether the name says that completions were among the references, and nothing else."""
        return "gen" in self.variant.lower() and "fp32" not in self.variant.lower()

    def truth_and_mask(self) -> tuple[Path, Path]:
        """Return the files to score against. Raises `UserError` if one is missing."""
        if self.given:
            return self.given
        target = self.scene_folder / "target"
        return find_image(target, "gt"), find_image(target, "mask")


def find_folders(
    base: Path, datasets: dict[str, Path], scenes: Sequence[Path]
) -> tuple[list[ResultsFolder], dict[str, str]]:
    """Return the results folders in `base`, and the reasons why others cannot be scored.

    `datasets` gives the base folder of RealBench and Custom, `scenes` folders of scene folders.
    """
    if not base.is_dir():
        raise UserError(f"{base}: no such folder; give the folder that holds the results folders")
    folders, unusable = [], {}
    for path in sorted(filter(Path.is_dir, base.iterdir()), key=natural):
        try:
            next(path.iterdir(), None)
        except OSError as error:
            unusable[path.name] = f"cannot be read ({error.strerror})"
            continue
        inside = [sub for sub in sorted(path.iterdir(), key=natural) if holds_completions(sub)]
        if not inside and not (holds_completions(path) or DATASET_NAME.fullmatch(path.name)):
            continue
        found = place(path, datasets, scenes)
        if isinstance(found, str):
            unusable[path.name] = found
        elif inside and not holds_completions(path):
            folders += [
                replace(found, name=f"{path.name}/{sub.name}", path=sub, variant=sub.name)
                for sub in inside
            ]
        else:
            folders.append(found)
    return folders, unusable


def place(path: Path, datasets: dict[str, Path], scenes: Sequence[Path]) -> ResultsFolder | str:
    """Return the results folder `path` with its scene, or the reason why there is none."""
    known = scene_of(path.name, scenes)
    if known:
        variant = suffix(path.name[len(known.name) :])
        return ResultsFolder(path.name, path, known.name, known, "", variant)
    if not (match := DATASET_NAME.fullmatch(path.name)):
        return "no scene folder of this name in --scenes" if scenes else "give --scenes"
    scene, dataset, number, rest = match.groups()
    if dataset not in datasets:
        return f"give {FLAGS[dataset]}"
    folder = datasets[dataset] / dataset / number
    return ResultsFolder(path.name, path, scene, folder, dataset, suffix(rest or ""))


def scene_of(name: str, scenes: Sequence[Path]) -> Path | None:
    """Return the scene folder in one of `scenes` that a results folder's name begins with."""
    stems = (name, name.split("-results")[0])
    folders = (folder / stem for stem in stems for folder in scenes)
    return next((folder for folder in folders if (folder / "target").is_dir()), None)


def suffix(rest: str) -> str:
    """Return what follows `-results` in a name."""
    return rest.removeprefix("-results").strip("-_")


def find_set(
    name: str, folders: list[ResultsFolder], datasets: dict[str, Path], scenes: Sequence[Path]
) -> list[ResultsFolder]:
    """Return the folders of the set `name`: a variant, a set's full name, or a folder of folders.

    Raises `UserError` if there is none.
    """
    matching = [
        folder
        for folder in folders
        if name.lower() in (folder.set_name.lower(), folder.variant.lower())
    ]
    if not matching and Path(name).is_dir():
        known = {folder.path.resolve(): folder for folder in folders}
        for folder in find_folders(Path(name), datasets, scenes)[0]:
            label = Path(name).name
            found = replace(folder, name=f"{label}/{folder.name}", variant=label)
            matching.append(known.get(folder.path.resolve(), found))
    if not matching:
        there = ", ".join(sorted({folder.set_name for folder in folders}))
        raise UserError(
            f"--compare {name}: no such set, nor a folder of results; there are: {there}"
        )
    return matching


def holds_completions(path: Path) -> bool:
    """Say whether `path` is a folder with numbered PNG images in it."""
    try:
        return path.is_dir() and next(iter(numbered(path)), None) is not None
    except OSError:
        return False


def numbered(folder: Path) -> Iterable[Path]:
    """Yield the PNG images in `folder` that are named 0, 1, 2 and so on; no pipe, no dead link."""
    return (
        path
        for path in folder.iterdir()
        if re.fullmatch(r"(0|[1-9]\d*)\.png", path.name) and path.is_file()
    )


def natural(path: Path) -> list[tuple[int, str]]:
    """Return a key that sorts names as people do: 2 before 10."""
    parts = re.split(r"(\d+)", path.name)
    return [(int(part), "") if part.isdecimal() else (-1, part.lower()) for part in parts]
