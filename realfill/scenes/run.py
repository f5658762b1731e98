"""All scenes, one after another or side by side, and a page that says how far they are."""

import time
import traceback
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from realfill.command_line import explain
from realfill.errors import UserError
from realfill.lock import Locked, one_writer
from realfill.record import Record, claim
from realfill.scenes.plan import SCRIPT, Plan, find_done, name_of
from realfill.scenes.progress import Outcome, Progress
from realfill.scenes.status import write_page

PAGE = "status.html"
PATIENCE = 120.0
"""Seconds in which a file system lets go of the locks of a lost machine."""
INSTALL = "pip install -r requirements-cluster.txt"


def complete_scenes(plan: Plan, scenes: list[Path], address: str | None = None) -> list[Outcome]:
    """Complete the scenes in the folders `scenes`, and keep status.html in the output folder.

    What is done already is not done again. With Ray and several scenes, they are completed side by
    side, on the cluster at `address` or on this machine. A scene that fails stops no other; its
    outcome says why. Raises `UserError` if another run writes to the output folder, it is not this
    script's, or there is no such cluster.
    """
    folder, progress = plan.output_dir, Progress(scenes)
    with one_writer(folder):
        Record(script=SCRIPT, files=claim(folder, SCRIPT, [PAGE])).write(folder)
        there = [(scene, find_outcome(plan, scene)) for scene in scenes]
        progress.outcomes += [outcome for _, outcome in there if outcome]
        for outcome in complete_each(plan, [s for s, o in there if not o], address, progress):
            progress.outcomes.append(outcome)
            write_page(folder / PAGE, plan, progress)
            print(progress.line())
        write_page(folder / PAGE, plan, progress)
    return progress.outcomes


def find_outcome(plan: Plan, scene: Path) -> Outcome | None:
    """Return the outcome of a scene if all is done already, or cannot be known; else None."""
    try:
        record = find_done(plan, scene)
    except Exception as error:
        return failure(scene, error)
    return record and Outcome(scene, record, new=False)


def complete_each(
    plan: Plan, scenes: list[Path], address: str | None, progress: Progress
) -> Iterator[Outcome]:
    """Complete scenes, and yield how each ended, as soon as it has."""
    if address and not find_spec("ray"):
        raise UserError(f"--address needs Ray: {INSTALL}")
    if len(scenes) > 1 and not find_spec("ray"):
        print(f"one scene after another; {INSTALL} lets them run side by side")
    if not scenes or not (address or (len(scenes) > 1 and find_spec("ray"))):
        yield from (complete_or_explain(plan, scene) for scene in scenes)
        return
    from realfill.scenes import cluster

    with cluster.connected(address):
        progress.at_once = cluster.places()
        patiently = partial(complete_or_explain, patience=PATIENCE)
        yield from cluster.side_by_side(patiently, plan, scenes)


def complete_or_explain(plan: Plan, scene: Path, patience: float = 0.0) -> Outcome:
    """Complete a scene, or say why it cannot be.

    A folder in which a lost machine was writing may still be locked: that is waited for, for
    `patience` seconds.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            job = plan.job(scene)
            print(f"{name_of(scene)}:")
            from realfill.scenes.stages import complete_one  # torch: seconds to import

            return Outcome(scene, complete_one(plan, scene, job))
        except Locked as error:
            if time.monotonic() >= deadline:
                return failure(scene, error)
            time.sleep(1)
        except SystemExit as stopped:
            return Outcome(scene, fault=f"ended with exit code {stopped.code}; see above")
        except Exception as error:
            return failure(scene, error)


def failure(scene: Path, error: Exception) -> Outcome:
    """Return the outcome of a scene that `error` ended."""
    line = explain(error)
    if line is None:
        traceback.print_exception(error)
        line = f"{type(error).__name__}: {error}; this is a fault of the program, see above"
    return Outcome(scene, fault=" ".join(line.split()))
