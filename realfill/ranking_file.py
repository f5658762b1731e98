"""The ranking file of a folder of completions, whatever ranked them."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from realfill.errors import UserError
from realfill.record import Record
from realfill.storage import write_json

RANKING_FILE = "loftr_ranking_scores.json"
SHEET_FILE = "ranking.png"


def write_ranking(
    path: Path, metadata: dict[str, Any], ranked: Iterable[tuple[str, float, dict[str, Any]]]
) -> None:
    """Write a ranking in the shape of `eric15342335/realfill`, with the detail behind it.

    `ranked` are the file name, the score and the detail of each completion, best first.
    """
    folder = path.parent.resolve()
    places = [
        {"rank": place, "score": score, "filename": name, "path": str(folder / name)} | detail
        for place, (name, score, detail) in enumerate(ranked, start=1)
    ]
    counts = {"source_directory": str(folder), "num_candidates_ranked": len(places)}
    write_json(path, {"metadata": counts | metadata, "ranking": places})


def read_ranking(path: Path) -> list[str]:
    """Return the file names in a ranking, best first.

    Raises OSError if it cannot be read, ValueError, KeyError or TypeError if it is damaged.
    """
    ranking = json.loads(path.read_text("utf-8"))["ranking"]
    return [place["filename"] for place in sorted(ranking, key=lambda place: place["rank"])]


def claim_ranking(folder: Path, ranking_file: str) -> None:
    """Raise `UserError` if writing a ranking into `folder` would replace what is none."""
    if Path(ranking_file).name != ranking_file or not ranking_file.endswith(".json"):
        raise UserError(f"--ranking_output_file {ranking_file}: give the name of a .json file")
    ranked = any(is_ranking(path) for path in folder.glob("*.json"))
    path = folder / ranking_file
    if path.exists() and not is_ranking(path):
        raise UserError(f"{path}: is no ranking; remove it, or name another --ranking_output_file")
    sheet = folder / SHEET_FILE
    if sheet.exists() and not (ranked or SHEET_FILE in (Record.read(folder).files or ())):
        raise UserError(f"{sheet}: was there before any ranking; move it away")


def is_ranking(path: Path) -> bool:
    """Say whether `path` is a ranking file; a damaged one is not."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and content.keys() >= {"metadata", "ranking"}
