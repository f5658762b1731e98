"""Writing the report: text, JSON with everything, CSV a row for each number, HTML to look at."""

import csv
from collections.abc import Sequence
from pathlib import Path

from benchmark.cache import Cache
from benchmark.report import Report
from benchmark.report_html import as_html
from benchmark.report_text import as_text
from benchmark.scoring import Scored
from realfill.files import appears_whole, write_json


def write_reports(
    report: Report, results: Sequence[Scored], cache: Cache, path: Path
) -> list[Path]:
    """Write the report to `path` and beside it, and return the files' paths."""
    paths = [path, *(path.with_suffix(suffix) for suffix in (".json", ".csv", ".html"))]
    write_text(paths[0], as_text(report) + "\n")
    write_json(paths[1], report)
    write_table(paths[2], report)
    write_text(paths[3], as_html(report, results, cache))
    return paths


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path`."""
    with appears_whole(path) as temporary:
        temporary.write_text(text, "utf-8")


def write_table(path: Path, report: Report) -> None:
    """Write a row for each completion and score; where there is no number, "n/a"."""
    with (
        appears_whole(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        rows = csv.writer(file)
        rows.writerow(["set", "scene", "folder", "image", "score", "value"])
        for folder in report["folders"]:
            for image, scores in folder["images"].items():
                for name, value in scores.items():
                    place = [folder["set"], folder["scene"], folder["name"], image]
                    rows.writerow([*place, name, "n/a" if value is None else repr(value)])
