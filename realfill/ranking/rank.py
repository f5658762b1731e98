"""Seed selection (RealFill, section 3.4): rank a folder's completions, keep the best."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from realfill.command_line import is_main_process
from realfill.images.blend import changed_mask, hole_of
from realfill.matching.base import Matcher, Matches
from realfill.matching.evidence import (
    Geometry,
    Ranked,
    consensus,
    counting,
    known_geometry,
    put_in_order,
)
from realfill.matching.pairs import CACHE, at_matching_size, match_pairs
from realfill.ranking_file import RANKING_FILE, SHEET_FILE, claim_ranking, write_ranking
from realfill.sampling.folder import read_completions
from realfill.sheets.ranking import make_ranking_sheet
from realfill.storage import write_image

TARGET = "target"
"""The name under which the target with its hole blanked out is matched."""


@dataclass(frozen=True)
class Ranking:
    """What ranked and what came out."""

    rule: str
    """"correspondences" or "consensus"."""
    count: str
    threshold: float
    geometries: dict[str, Geometry]
    """By reference; empty if geometry does not count."""
    completions: list[Ranked]
    """Best first."""
    counted: dict[str, Matches]
    """The best completion's matches that count, by reference, at matching size."""


def rank_completions(
    completions: dict[str, Image.Image],
    references: dict[str, Image.Image],
    mask: Image.Image | None,
    matcher: Matcher,
    count: str,
    threshold: float | None,
    cache: Path,
) -> Ranking:
    """Rank completions (RGB, one size) by `count`, one of `ranking.COUNTS`.

    The mask (L, 255 = hole, the completions' size) is needed for every count but "whole".
    Matches with a confidence of `threshold` (None: the matcher's own) or less do not count.
    """
    threshold = matcher.default_threshold if threshold is None else threshold
    hole = None if mask is None else hole_of(at_matching_size(mask))
    photos = dict(completions)
    if count == "geometric":
        assert mask is not None, "geometry tells the known region by the mask"
        photos[TARGET] = blank_hole(next(iter(completions.values())), mask)
    matches = {
        pair: found.chosen(found.confidence > threshold)
        for pair, found in match_pairs(matcher, photos, references, cache).items()
    }
    geometries = {}
    if hole is not None and count == "geometric":
        geometries = {name: known_geometry(matches[TARGET, name], hole) for name in references}

    def counted(completion: str, reference: str) -> Matches:
        found = matches[completion, reference]
        return found.chosen(counting(found, count, hole, geometries.get(reference)))

    pixels = [np.asarray(image) for image in completions.values()]
    nearness = consensus(pixels, None if mask is None else hole_of(mask))
    evidence = []
    for completion, near in zip(completions, nearness, strict=True):
        found = {name: counted(completion, name) for name in references}
        numbers = {name: len(those.points) for name, those in found.items()}
        confidences = {
            name: float(those.confidence.mean()) if numbers[name] else 0.0
            for name, those in found.items()
        }
        evidence.append(Ranked(completion, numbers, confidences, near))
    rule, ranked = put_in_order(evidence)
    best = {name: counted(ranked[0].name, name) for name in references}
    return Ranking(rule, count, threshold, geometries, ranked, best)


def blank_hole(completion: Image.Image, mask: Image.Image) -> Image.Image:
    """Return the target as all completions have it: its known region, the hole in grey."""
    grey = Image.new("RGB", completion.size, "grey")
    return Image.composite(grey, completion, changed_mask(mask))


def rank_folder(
    paths: list[Path],
    references: dict[str, Image.Image],
    mask: Image.Image | None,
    matcher: Matcher,
    *,
    reference_folder: Path,
    count: str = "geometric",
    threshold: float | None = None,
    ranking_file: str = RANKING_FILE,
) -> list[Path]:
    """Rank the completions `paths` of one folder and write the ranking file and ranking.png there.

    Returns the paths, best first. See `rank_completions`.
    """
    completions, folder = read_completions(paths), paths[0].parent
    claim_ranking(folder, ranking_file)
    ranking = rank_completions(
        completions, references, mask, matcher, count, threshold, folder / CACHE
    )
    if is_main_process():
        ranked = [(each.name, score(ranking, each), detail(each)) for each in ranking.completions]
        about = metadata(ranking, matcher, reference_folder)
        write_ranking(folder / ranking_file, about, ranked)
        order = [(name, value) for name, value, _ in ranked]
        sheet = make_ranking_sheet(
            completions, references, order, explain(ranking), ranking.counted
        )
        write_image(folder / SHEET_FILE, sheet)
    return [folder / each.name for each in ranking.completions]


def score(ranking: Ranking, completion: Ranked) -> float:
    """Return what ranked this completion: its correspondences, or its nearness to the median."""
    if ranking.rule == "consensus":
        return round(completion.consensus, 4)
    return completion.number


def explain(ranking: Ranking) -> str:
    """Say on one line what ranked."""
    counts = {
        "geometric": "correspondences in the hole that agree with the known region's geometry",
        "hole": "correspondences in the hole",
        "whole": "correspondences in the whole image",
    }[ranking.count]
    if ranking.rule == "correspondences":
        return f"ranked by {counts}"
    most = max(completion.number for completion in ranking.completions)
    return f"ranked by nearness to the median of all: only {most} or fewer {counts}"


def metadata(ranking: Ranking, matcher: Matcher, reference_folder: Path) -> dict[str, Any]:
    """Return what the ranking file says of the whole ranking."""
    return {
        "reference_directory": str(reference_folder.resolve()),
        "rule": ranking.rule,
        "count": ranking.count,
        "explanation": explain(ranking),
        "conf_threshold": ranking.threshold,
        "matcher": matcher.settings,
        "geometry": {
            name: {
                "known": geometry.known,
                "agreeing": geometry.agreeing,
                "count": "hole" if geometry.matrix is None else "geometric",
            }
            for name, geometry in ranking.geometries.items()
        },
    }


def detail(completion: Ranked) -> dict[str, Any]:
    """Return what the ranking file says of one completion."""
    return {
        "correspondences": completion.number,
        "mean_confidence": round(completion.confidence, 4),
        "consensus": round(completion.consensus, 4),
        "references": {
            name: {
                "correspondences": number,
                "mean_confidence": round(completion.confidences[name], 4),
            }
            for name, number in completion.numbers.items()
        },
    }
