"""Completing a photo: what geometry knows, what fills the rest, and what is written down."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from accelerate import PartialState

from realfill.command_line import quiet_libraries
from realfill.completing.fillers import exemplar_filler, no_filler
from realfill.completing.job import Completion, Filler, Job, Rest
from realfill.completing.present import present
from realfill.devices import start_process
from realfill.geometry.files import REPORT
from realfill.geometry.guide import cached_prefill, find_anew, guide
from realfill.geometry.relative import DepthModel
from realfill.lock import one_writer
from realfill.record import CompletionsRecord, Record, all_versions
from realfill.sampling.folder import (
    PROVENANCE_FOLDER,
    SCRIPT,
    claim_completions,
    file_name,
    missing_completions,
    numbered,
    overwriting,
)
from realfill.seeds import choose_seed
from realfill.sheets.geometry import make_geometry_sheet
from realfill.storage import write_image


def complete_scene(job: Job) -> None:
    """Write the completions that are missing in the output folder, and what goes with them.

    Raises `UserError` if there are completions of other settings and `overwrite` is not set, and
    for a folder that is not infer.py's to write to.
    """
    state, folder = start_process(), job.output_dir
    with one_writer(folder):
        state.wait_for_everyone()  # what a killed run left half-written is gone
        files = claim_completions(folder, job.num_images, job.scene_folder)
        filler, depth_model = choose_filler(job, state), choose_depth_model(job, state)
        with overwriting(folder, job.overwrite, state) as stage:
            staged = replace(job, output_dir=stage)
            rest, record = fill_missing(staged, filler, depth_model, files, state)
        state.wait_for_everyone()
        present(job, filler, rest, record, state)


def look_first(job: Job) -> Rest:
    """Find what the references show, and keep it in the output folder for `complete_scene`.

    Returns what is left to fill. Raises `UserError` for a folder that is not infer.py's to write
    to.
    """
    state, folder = start_process(), job.output_dir
    with one_writer(folder):
        state.wait_for_everyone()
        files = claim_completions(folder, job.num_images, job.scene_folder)
        record = CompletionsRecord(script=SCRIPT, files=files, scene=job.scene.name)
        quiet = replace(job, geometry_report=False)
        return look_at_references(quiet, choose_depth_model(job, state), record, state)


def choose_filler(job: Job, state: PartialState) -> Filler:
    """Return what fills the part of the hole that geometry leaves."""
    if job.fill == "none":
        return no_filler(job.geometry)
    recorded = None if job.overwrite else Record.read(job.output_dir).seed
    seed = choose_seed(job.seed, recorded)
    if job.fill == "exemplar":
        return exemplar_filler(seed)
    # diffusers: seconds to import
    from realfill.completing.canvas_filler import canvas_filler
    from realfill.completing.model_filler import model_filler

    quiet_libraries()
    make_filler = canvas_filler if job.fill == "canvas" else model_filler
    return make_filler(job.model, seed, state)


def choose_depth_model(job: Job, state: PartialState) -> DepthModel | None:
    """Return the depth model that the job names, if geometry can have a use for it."""
    if job.depth_model is None or not looks_at_references(job):
        return None
    from realfill.model.depth import load_depth_model  # transformers: seconds to import

    quiet_libraries()
    return DepthModel(*load_depth_model(job.depth_model, state.device))


def fill_missing(
    job: Job, filler: Filler, depth_model: DepthModel | None, files: list[str], state: PartialState
) -> tuple[Rest, CompletionsRecord]:
    """Make the completions that are missing; return what geometry left, and the record."""
    folder = job.output_dir
    settings = filler.settings | {"photo": job.scene.digest(), "geometry": job.geometry}
    settings["depth_model"] = depth_model and depth_model.identity
    missing = missing_completions(folder, job.num_images, settings, job.overwrite)
    before = CompletionsRecord.read(folder)
    asked = max(job.num_images, before.num_images or 0)
    kept = {path.stem for path in numbered(folder)} - {str(index) for index in missing}
    evidence = {label: each for label, each in before.completions.items() if label in kept}
    if filler.origin is None:
        missing = [index for index in range(job.num_images) if str(index) not in evidence]
    state.wait_for_everyone()
    record = CompletionsRecord(
        script=SCRIPT,
        files=files,
        scene=job.scene.name,
        settings=settings,
        versions=all_versions(),
        model_path=job.model.model_path,
        base_only=job.model.base_only,
        num_images=asked,
        completions=evidence,
    )
    rest = look_at_references(job, depth_model, record, state)
    with state.split_between_processes(missing) as share:
        if filler.origin is None:  # its threads keep all cores busy from one process
            share = missing if state.is_main_process else []
        for index, completion in begin(folder, filler.fill(job.scene, rest, share), record, state):
            record = write_completion(folder, index, completion, record)
    return rest, record


def looks_at_references(job: Job) -> bool:
    """Say whether geometry has anything to do."""
    return job.geometry != "off" and bool(job.scene.references)


def look_at_references(
    job: Job, depth_model: DepthModel | None, record: CompletionsRecord, state: PartialState
) -> Rest:
    """Return what the references leave to fill, and say how much they show.

    A new folder's record comes first: if the run ends before its first completion, the next one
    knows the files.
    """
    if not looks_at_references(job):
        return Rest(job.scene, 1.0, None)
    given = (job.scene, job.output_dir, state.device, depth_model)
    with state.main_process_first():
        if state.is_main_process and Record.read(job.output_dir).script is None:
            record.write(job.output_dir)
        if job.geometry_report and state.is_main_process:
            path = job.output_dir / REPORT
            write_image(path, make_geometry_sheet(job.scene, find_anew(*given)))
            state.print(f"geometry: drawn in {path}")
        prefill = cached_prefill(*given)
    state.print(f"geometry: {prefill.message}")
    return Rest(*guide(job.scene, prefill), prefill)


def begin(
    folder: Path,
    completions: Iterator[tuple[int, Completion]],
    record: CompletionsRecord,
    state: PartialState,
) -> Iterator[tuple[int, Completion]]:
    """Write down in realfill.json how the completions are made, then pass them on.

    The first one is waited for: if it cannot be made, the folder stays as it was.
    """
    first = next(completions, None)
    if state.is_main_process:
        record.write(folder)
    state.wait_for_everyone()
    if first is not None:
        yield first
        yield from completions


def write_completion(
    folder: Path, index: int, completion: Completion, record: CompletionsRecord
) -> CompletionsRecord:
    """Write one completion and, if it has its own, its provenance and evidence.

    Returns the record with these.
    """
    write_image(folder / file_name(index), completion.image)
    if completion.provenance is not None:
        (folder / PROVENANCE_FOLDER).mkdir(exist_ok=True)
        write_image(folder / PROVENANCE_FOLDER / file_name(index), completion.provenance.draw())
        shares = completion.provenance.shares()
        evidence = {str(index): completion.evidence | {"provenance": shares}}
        record = replace(record, completions=record.completions | evidence)
        record.write(folder)
    return record
