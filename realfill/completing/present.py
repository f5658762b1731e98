"""Choosing the best completion, and showing what there is."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
from accelerate import PartialState
from PIL import Image

from realfill.completing.job import Filler, Job, Rest
from realfill.errors import UserError
from realfill.matching.evidence import consensus
from realfill.matching.pairs import choose_matcher
from realfill.provenance import describe, trace
from realfill.ranking.rank import rank_folder
from realfill.ranking_file import RANKING_FILE, write_ranking
from realfill.record import CompletionsRecord
from realfill.sampling.folder import (
    BEST_FILE,
    CONTACT_SHEET,
    PROVENANCE_FILE,
    PROVENANCE_FOLDER,
    file_name,
    identical_completions,
    read_completions,
)
from realfill.sheets.contact import make_contact_sheet
from realfill.storage import appears_whole, write_image

LONG_SIDE = 1600
"""Pixels of the longer side to which completions are reduced to be compared and shown.

Sixteen large photos would fill the memory.
"""


def present(
    job: Job, filler: Filler, rest: Rest, record: CompletionsRecord, state: PartialState
) -> None:
    """Rank the completions, draw what there is to look at, and say where it is.

    All processes of a launch match photos if a matcher ranks; the first one does the rest.
    """
    folder = job.output_dir
    paths = [folder / file_name(index) for index in range(job.num_images)]
    best = rank_by_matches(job, job.matcher, paths) if job.matcher else None
    if not state.is_main_process:
        return
    completions = read_completions(paths, LONG_SIDE)
    if best is None and filler.origin is None:
        best = rank_by_consensus(job, completions, record)
    if best is not None:
        with appears_whole(folder / BEST_FILE) as temporary:
            shutil.copyfile(folder / best, temporary)
        print(f"best: {best}, copied to {folder / BEST_FILE}")
    shares = show_provenance(job, filler, rest, record, best)
    for names in identical_completions(paths):
        print(f"identical: {', '.join(names)}")
    with Image.open(folder / PROVENANCE_FILE) as drawn:
        sheet = make_contact_sheet(
            job.scene,
            {Path(name).stem: image for name, image in completions.items()},
            job.truth,
            best and Path(best).stem,
            rest.prefill,
            (describe(shares), drawn),
        )
    write_image(folder / CONTACT_SHEET, sheet)
    print(f"the hole is {describe(shares)}")
    print(f"wrote {len(completions)} completions; look at {folder / CONTACT_SHEET}")


def rank_by_matches(job: Job, matcher: str, paths: list[Path]) -> str:
    """Rank the completions by their correspondences and return the best one's file name.

    Raises `UserError` if nothing says where the references are.
    """
    if job.scene_folder is None:
        raise UserError("ranking by a matcher needs the folder of the scene")
    ranked = rank_folder(
        paths,
        job.scene.references,
        job.scene.mask,
        choose_matcher(matcher),
        reference_folder=job.scene_folder / "ref",
    )
    return ranked[0].name


def rank_by_consensus(
    job: Job, completions: dict[str, Image.Image], record: CompletionsRecord
) -> str:
    """Write the ranking file of completions from exemplars and return the best one's file name.

    Each is the least strange of its set-ups already; what most of them agree on is the best.
    """
    size = next(iter(completions.values())).size
    hole = job.scene.hole_at(size)
    near = consensus([np.asarray(image) for image in completions.values()], hole)
    nearness = dict(zip(completions, near, strict=True))
    strangeness = {name: record.completions[Path(name).stem]["strangeness"] for name in completions}
    order = sorted(completions, key=lambda name: (-nearness[name], strangeness[name]))
    scores = [round(nearness[name], 4) for name in order]
    ranked = [
        (name, score, {"consensus": score, "strangeness": strangeness[name]})
        for name, score in zip(order, scores, strict=True)
    ]
    about = {"rule": "consensus", "explanation": "ranked by nearness to the median of all"}
    write_ranking(job.output_dir / RANKING_FILE, about, ranked)
    return order[0]


def show_provenance(
    job: Job, filler: Filler, rest: Rest, record: CompletionsRecord, best: str | None
) -> dict[str, float]:
    """Write provenance.png, of the best completion if they differ; return its shares."""
    path = job.output_dir / PROVENANCE_FILE
    if filler.origin is None:
        assert best is not None  # completions that differ are always ranked
        shares = record.completions[Path(best).stem]["provenance"]
        with appears_whole(path) as temporary:
            shutil.copyfile(job.output_dir / PROVENANCE_FOLDER / best, temporary)
    else:
        provenance = trace(job.scene.hole, rest.scene.hole, filler.origin)
        shares = provenance.shares()
        write_image(path, provenance.draw())
    replace(record, provenance=shares).write(job.output_dir)
    return shares
