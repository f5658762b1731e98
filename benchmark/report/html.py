"""The report as one HTML file that needs no network: tables, bars, curves, and pictures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from benchmark.base import in_parallel
from benchmark.report.build import Report
from benchmark.report.text import number, signed
from benchmark.suite.cache import Cache, make_key
from benchmark.suite.scorer import Scored
from realfill.errors import UserError
from realfill.images.read import read_mask, read_photo
from realfill.pages import HOLE, data_address, environment, hide_hole, small_jpeg
from realfill.storage import file_hash

THUMBNAIL = 360
"""Longest side of a picture in pixels."""
Files = tuple[Path, ...]
"""A photo, or a photo and the mask of the hole to mark in it."""


def as_html(report: Report, results: Sequence[Scored], cache: Cache) -> str:
    """Return the page. Thumbnails are kept in `cache`, by the content of their photos."""
    strips = make_strips(report, results)
    files = [picture["files"] for strip in strips for picture in strip["pictures"]]
    pictures = dict(zip(files, thumbnails(files, cache), strict=True))
    templates = environment(Path(__file__).parent)
    templates.filters |= {"number": number, "signed": signed}
    template = templates.get_template("template.html.j2")
    return template.render(
        report=report,
        scores={score["name"]: score for score in report["scores"]},
        strips=strips,
        by=picture_score(report) if strips else None,
        pictures=pictures,
        most=most(report),
        forest=forest,
        curve=curve,
    )


def most(report: Report) -> dict[str, float]:
    """Return the largest mean of each score over the folders: what a full bar stands for."""
    found: dict[str, float] = {}
    for folder in report["folders"]:
        for name, value in folder["means"].items():
            found[name] = max(found.get(name, 0.0), value or 0.0)
    return found


def make_strips(report: Report, results: Sequence[Scored]) -> list[dict[str, Any]]:
    """Return for each scene its pictures: target, truth, and each set's best and worst.

    The target is the truth with the hole marked. Best and worst go by the first score.
    """
    if not report["folders"]:
        return []
    score = picture_score(report)
    strips: dict[str, dict[str, Any]] = {}
    for result in (result for result in results if result.images):
        folder = result.folder
        strip = strips.setdefault(folder.scene, {"scene": folder.scene, "pictures": []})
        if not strip["pictures"]:
            truth, mask = folder.truth_and_mask()
            strip["pictures"] += [
                {"caption": "target", "value": "", "files": (truth, mask)},
                {"caption": "truth", "value": "", "files": (truth,)},
            ]
        numbers = result.scores.get(score["name"], {})
        order = sorted(numbers, key=numbers.__getitem__, reverse=score["higher_is_better"])
        for word, image in zip(("best", "worst"), (order[:1], order[-1:]), strict=True):
            strip["pictures"] += [
                {
                    "caption": f"{folder.set_name}: {word} ({name})",
                    "value": f"{number(numbers[name], score)} {score['unit']}".strip(),
                    "files": (folder.path / name,),
                }
                for name in image
            ]
    return list(strips.values())


def picture_score(report: Report) -> Report:
    """Return the score that says which completion is best: the first that each of them has."""
    single = [score for score in report["scores"] if score["name"] in report["folders"][0]["means"]]
    return (single or report["scores"])[0]


def thumbnails(wanted: Sequence[Files], cache: Cache) -> list[str]:
    """Return small JPEGs as data addresses; a damaged photo gives an empty one."""
    hashes = in_parallel(lambda files: [hash_if_there(path) for path in files], wanted)
    keys = [make_key("thumbnail", THUMBNAIL, HOLE, *parts) for parts in hashes]
    known = cache.read(set(keys))
    missing = {key: files for key, files in zip(keys, wanted, strict=True) if key not in known}
    made = dict(zip(missing, in_parallel(draw, missing.values()), strict=True))
    cache.write(made)
    known |= made
    return [data_address(known[key]) for key in keys]


def hash_if_there(path: Path) -> str:
    """Return the hash of a file, or its name if it cannot be read."""
    try:
        return file_hash(path)
    except OSError:
        return str(path)


def draw(files: Files) -> bytes:
    """Return a photo, its hole marked if a mask is given, as a small JPEG; grey if damaged."""
    try:
        photo = read_photo(files[0])
        for mask_path in files[1:]:
            mask = read_mask(mask_path).resize(photo.size, Image.Resampling.NEAREST)
            photo = hide_hole(photo, mask)
    except UserError:
        photo = Image.new("RGB", (THUMBNAIL, THUMBNAIL), HOLE)
    return small_jpeg(photo, THUMBNAIL)


def forest(row: Report, score: Report) -> dict[str, Any]:
    """Return where a difference and its interval lie on an axis from -50 to 50 around zero."""
    bounds = [row["difference"], row["low"] or 0.0, row["high"] or 0.0]
    scale = 44 / (max(map(abs, bounds)) or 1.0)
    low, high = row["low"], row["high"]
    sure = low is not None and (low > 0 or high < 0)
    better = (row["difference"] > 0) == score["higher_is_better"]
    return {
        "point": row["difference"] * scale,
        "low": None if low is None else low * scale,
        "high": None if high is None else high * scale,
        "kind": ("better" if better else "worse") if sure else "open",
    }


def curve(values: Sequence[float], width: int = 200, height: int = 64) -> list[tuple[float, float]]:
    """Return the points of a curve in a box, from its left to its right end, largest on top."""
    low, high = min(values), max(values)
    # Means of equal numbers differ in their last digits; that is no curve.
    span = high - low if high - low > 1e-6 else 1.0
    step = width / (len(values) - 1)
    return [
        (place * step, height - (value - low) / span * height) for place, value in enumerate(values)
    ]
