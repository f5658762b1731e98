"""Completing a photo: what geometry knows, what fills the rest, and what is written down."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import PartialState
from PIL import Image

from realfill.exemplars.judge import EXPLANATION, judge
from realfill.geometry.guide import cached_prefill, guide
from realfill.geometry.prefill import Prefill
from realfill.images.blend import shrink_mask
from realfill.lock import one_writer
from realfill.matching.pairs import choose_matcher
from realfill.provenance import Provenance, describe, trace
from realfill.ranking.rank import RANKING_FILE, rank_folder
from realfill.record import RECORD_FILE, library_versions, read_record
from realfill.sampling.folder import (
    BEST_FILE,
    PROVENANCE_FILE,
    PROVENANCE_FOLDER,
    SCRIPT,
    claim_completions,
    identical_completions,
    missing_completions,
    overwriting,
    read_completions,
)
from realfill.scene import Scene
from realfill.sheets.contact import make_contact_sheet
from realfill.storage import appears_whole, write_image, write_json


@dataclass(frozen=True)
class Rest:
    """What geometry leaves to fill."""

    scene: Scene
    """The target holds what geometry is sure of; the mask is what is left, and may be empty."""
    strength: float
    """To sample the rest with; see `guide`."""
    prefill: Prefill | None


@dataclass(frozen=True)
class Completion:
    """A completed photo."""

    image: Image.Image
    provenance: Provenance | None = None
    """None if it is the same for all completions, from the filler's `origin`."""
    evidence: dict[str, Any] = field(default_factory=dict)
    """What the judge needs to know of it."""


@dataclass(frozen=True)
class Filler:
    """What fills the rest."""

    settings: dict[str, Any]
    """All that decides the completions, besides the photos and the geometry; JSON can hold it."""
    fill: Callable[[Scene, Rest, Sequence[int]], Iterator[tuple[int, Completion]]]
    """Yields the completions wanted of a scene, by index. May raise `UserError`."""
    origin: str | None
    """What its pixels are, one of `provenance`'s; None if each completion says it."""


@dataclass(frozen=True)
class Job:
    """One scene, and where its completions go."""

    scene: Scene
    truth: Image.Image | None
    output_dir: Path
    num_images: int
    geometry: str
    """One of `settings.GEOMETRY_MODES`."""
    overwrite: bool
    matcher: str | None
    """What ranks the completions; None leaves it to the judge of exemplars."""
    scene_folder: Path | None
    notes: dict[str, Any]
    """For the record: what else was asked for."""


def complete_scene(job: Job, prepare: Callable[[], Filler], state: PartialState) -> None:
    """Write the completions that are missing in the output folder, and what goes with them.

    `prepare` is called when the folder is locked. Raises `UserError` if there are completions of
    other settings and `overwrite` is not set, and for a folder that is not infer.py's to write to.
    """
    folder = job.output_dir
    with one_writer(folder):
        state.wait_for_everyone()  # what a killed run left half-written is gone
        files = claim_completions(folder, job.num_images, job.scene_folder)
        filler = prepare()
        with overwriting(folder, job.overwrite, state) as stage:
            rest, record = fill_missing(replace(job, output_dir=stage), filler, files, state)
        state.wait_for_everyone()
        best = choose_best(job, record, state)
        if state.is_main_process:
            finish(job, filler, rest, record, best)


def fill_missing(
    job: Job, filler: Filler, files: list[str], state: PartialState
) -> tuple[Rest, dict[str, Any]]:
    """Make the completions that are missing; return what geometry left, and the record."""
    folder = job.output_dir
    settings = filler.settings | {"photo": job.scene.digest(), "geometry": job.geometry}
    missing = missing_completions(folder, job.num_images, settings, job.overwrite)
    evidence = read_record(folder).get("completions", {})
    kept = {str(index) for index in range(job.num_images)} - {str(index) for index in missing}
    evidence = {label: each for label, each in evidence.items() if label in kept}
    if filler.origin is None:
        missing = [index for index in range(job.num_images) if str(index) not in evidence]
    state.wait_for_everyone()
    rest = look_at_references(job, state)
    record = job.notes | {
        "script": SCRIPT,
        "files": files,
        "scene": job.scene.name,
        "settings": settings,
        "versions": library_versions(),
        "completions": evidence,
    }
    with state.split_between_processes(missing) as share:
        if filler.origin is None:  # its threads keep all cores busy from one process
            share = missing if state.is_main_process else []
        for index, completion in begin(folder, filler.fill(job.scene, rest, share), record, state):
            write_completion(folder, index, completion, record)
    return rest, record


def look_at_references(job: Job, state: PartialState) -> Rest:
    """Return what the references leave to fill, and say how much they show."""
    if job.geometry == "off" or not job.scene.references:
        return Rest(job.scene, 1.0, None)
    with state.main_process_first():
        prefill = cached_prefill(job.scene, job.output_dir, state.device)
    state.print(f"geometry: {prefill.message}")
    return Rest(*guide(job.scene, prefill), prefill)


def begin(
    folder: Path,
    completions: Iterator[tuple[int, Completion]],
    record: dict[str, Any],
    state: PartialState,
) -> Iterator[tuple[int, Completion]]:
    """Write down in realfill.json how the completions are made, then pass them on.

    The first one is waited for: if it cannot be made, the folder stays as it was.
    """
    first = next(completions, None)
    if state.is_main_process:
        write_json(folder / RECORD_FILE, record)
    state.wait_for_everyone()
    if first is not None:
        yield first
        yield from completions


def write_completion(
    folder: Path, index: int, completion: Completion, record: dict[str, Any]
) -> None:
    """Write one completion and, if it has its own, its provenance and evidence."""
    write_image(folder / f"{index}.png", completion.image)
    if completion.provenance is not None:
        (folder / PROVENANCE_FOLDER).mkdir(exist_ok=True)
        write_image(folder / PROVENANCE_FOLDER / f"{index}.png", completion.provenance.draw())
        shares = completion.provenance.shares()
        record["completions"][str(index)] = completion.evidence | {"provenance": shares}
        write_json(folder / RECORD_FILE, record)


def choose_best(job: Job, record: dict[str, Any], state: PartialState) -> str | None:
    """Rank the completions, copy the best to best.png, and return its label; None if unranked."""
    folder = job.output_dir
    if job.matcher:
        ranked = rank_folder(
            [folder / f"{index}.png" for index in range(job.num_images)],
            job.scene.references,
            job.scene.mask,
            choose_matcher(job.matcher),
            reference_folder=job.scene_folder / "ref",
        )
        best = ranked[0].stem
    elif record["completions"]:
        best = rank_by_judge(job, record)
    else:
        return None
    if state.is_main_process:
        with appears_whole(folder / BEST_FILE) as temporary:
            shutil.copyfile(folder / f"{best}.png", temporary)
        print(f"best: {best}.png, copied to {folder / BEST_FILE}")
    return best


def rank_by_judge(job: Job, record: dict[str, Any]) -> str:
    """Write the ranking file of completions from exemplars and return the best one's label."""
    images = read_completions(job.output_dir, job.num_images)
    misfits = {label: record["completions"][label]["misfit"] for label in images}
    size = next(iter(images.values())).size
    hole = np.asarray(shrink_mask(job.scene.mask, size)) > 0
    judged = judge({label: np.asarray(image) for label, image in images.items()}, misfits, hole)
    metadata = {
        "source_directory": str(job.output_dir.resolve()),
        "num_candidates_ranked": len(judged),
        "rule": "exemplars",
        "explanation": EXPLANATION,
    }
    ranking = [
        {
            "rank": place,
            "score": each.score,
            "filename": f"{each.label}.png",
            "path": str((job.output_dir / f"{each.label}.png").resolve()),
            "misfit": each.misfit,
            "consensus": round(each.consensus, 4),
        }
        for place, each in enumerate(judged, start=1)
    ]
    write_json(job.output_dir / RANKING_FILE, {"metadata": metadata, "ranking": ranking})
    return judged[0].label


def finish(job: Job, filler: Filler, rest: Rest, record: dict[str, Any], best: str | None) -> None:
    """Write provenance.png and the contact sheet, and say what there is to look at."""
    folder = job.output_dir
    completions = read_completions(folder, job.num_images)
    if filler.origin is None:
        shares = record["completions"][best]["provenance"]
        with appears_whole(folder / PROVENANCE_FILE) as temporary:
            shutil.copyfile(folder / PROVENANCE_FOLDER / f"{best}.png", temporary)
    else:
        hole, left = (np.asarray(mask) > 127 for mask in (job.scene.mask, rest.scene.mask))
        provenance = trace(hole, left, filler.origin)
        shares = provenance.shares()
        write_image(folder / PROVENANCE_FILE, provenance.draw())
    record["provenance"] = shares
    write_json(folder / RECORD_FILE, record)
    for names in identical_completions(folder, job.num_images):
        print(f"identical: {', '.join(names)}")
    with Image.open(folder / PROVENANCE_FILE) as drawn:
        sheet = make_contact_sheet(
            job.scene, completions, job.truth, best, rest.prefill, (describe(shares), drawn)
        )
    write_image(folder / "contact_sheet.png", sheet)
    print(f"the hole is {describe(shares)}")
    print(f"wrote {len(completions)} completions; look at {folder / 'contact_sheet.png'}")
