"""Writing the report: text, JSON with everything, CSV a row for each number, HTML to look at."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

from benchmark.report.build import Report
from benchmark.report.html import as_html
from benchmark.report.text import as_text
from benchmark.suite.cache import Cache
from benchmark.suite.scorer import Scored
from realfill.errors import UserError
from realfill.storage import write_json, write_text

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What makes a spreadsheet take a cell for a formula."""


def report_paths(path: Path) -> list[Path]:
    """Return the paths of the four files: text, JSON, CSV and HTML.

    Only a suffix .txt gives way, so that `run.v1` and `run.v2` have files of their own. Raises
    `UserError` if `path` has the suffix of another one of the four.
    """
    if path.suffix in (".json", ".csv", ".html"):
        raise UserError(f"--output_file {path}: is for the text; .json, .csv, .html are added")
    stem = path.with_suffix("") if path.suffix == ".txt" else path
    return [path, *(stem.with_name(stem.name + suffix) for suffix in (".json", ".csv", ".html"))]


def claim_reports(path: Path) -> None:
    """Raise `UserError` if one of the files is there and is not an earlier report's."""
    paths = report_paths(path)
    there = [each for each in paths if each.exists()]
    try:
        earlier = json.loads(paths[1].read_text("utf-8"))
        if isinstance(earlier, dict) and earlier.keys() >= {"folders", "not_scored", "sets"}:
            return
    except (OSError, ValueError, RecursionError):
        pass
    if there:
        raise UserError(f"{there[0]}: is no report of this script; choose another --output_file")


def write_reports(
    report: Report, results: Sequence[Scored], cache: Cache, path: Path
) -> list[Path]:
    """Write the report to `path` and beside it, and return the files' paths."""
    paths = report_paths(path)
    page = as_html(report, results, cache)
    write_json(paths[1], report)  # first, as it is what `claim_reports` goes by
    write_text(paths[0], as_text(report) + "\n")
    write_text(paths[2], as_table(report), newline="")
    write_text(paths[3], page)
    return paths


def as_table(report: Report) -> str:
    """Return a row for each completion and score; "n/a" if there is no number."""
    table = io.StringIO(newline="")
    rows = csv.writer(table)
    rows.writerow(["set", "scene", "folder", "image", "score", "value"])
    for folder in report["folders"]:
        for image, scores in folder["images"].items():
            for name, value in scores.items():
                place = [folder["set"], folder["scene"], folder["name"], image]
                number = "n/a" if value is None else repr(value)
                rows.writerow([*map(neutral, place), name, number])
    return table.getvalue()


def neutral(name: str) -> str:
    """Return `name` so that no spreadsheet takes it for a formula."""
    return f"'{name}" if name.startswith(FORMULA) else name
