"""The report as one dictionary that JSON can hold; the files are written from it alone."""

import inspect
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from benchmark.base import Metric, Score, SetMetric, Unavailable
from benchmark.suite import published
from benchmark.suite.analysis import SHARES, compare, filtered, scene_means
from benchmark.suite.scorer import Scored
from realfill.errors import UserError

Report = dict[str, Any]


@dataclass(frozen=True)
class Comparison:
    """Two sets to compare, with the names of both."""

    title: str
    labels: tuple[str, str]
    first: Sequence[Scored]
    second: Sequence[Scored]


def build_report(
    results: Sequence[Scored],
    metrics: dict[str, Metric],
    rankings: dict[str, list[str]],
    comparisons: Sequence[Comparison],
    unavailable: dict[str, str],
    not_scored: dict[str, str],
) -> Report:
    """Return the whole report. `rankings` and `not_scored` go by the folders' names."""
    scores = [score for metric in metrics.values() for score in metric.scores]
    single = [s for m in metrics.values() if not isinstance(m, SetMetric) for s in m.scores]
    failed = {result.folder.name: result.left_out[0] for result in results if not result.images}
    scored = [result for result in results if result.images]
    sets = by_set(scored)
    distances, lacking = set_distances(metrics, sets)
    return {
        "scores": [
            describe(score, name, metric)
            for name, metric in metrics.items()
            for score in metric.scores
        ],
        "settings": {name: metric.settings() for name, metric in metrics.items()},
        "sets": [
            describe_set(name, folders, scores, distances[name], rankings)
            for name, folders in sets.items()
        ],
        "comparisons": [describe_comparison(each, single) for each in comparisons],
        "published": describe_published(scored),
        "folders": [describe_folder(result, single, rankings) for result in scored],
        "unavailable": unavailable | lacking,
        "not_scored": not_scored | failed,
    }


def by_set(results: Sequence[Scored]) -> dict[str, list[Scored]]:
    """Return the folders by the name of their set, in the order in which they came."""
    sets: dict[str, list[Scored]] = {}
    for result in results:
        sets.setdefault(result.folder.set_name, []).append(result)
    return sets


def describe(score: Score, name: str, metric: Metric) -> Report:
    """Return a score with what its metric says of itself."""
    return asdict(score) | {"metric": name, "about": about(metric)}


def about(metric: Metric) -> str:
    """Return the metric's description: convention, source, and which direction is better."""
    return " ".join((inspect.getdoc(metric) or "").split()).replace("`", "")


def describe_set(
    name: str,
    folders: Sequence[Scored],
    scores: Sequence[Score],
    distances: dict[str, tuple[float | None, int]],
    rankings: dict[str, list[str]],
) -> Report:
    """Return a set's averages, and how they change when only the best ranked are kept."""
    means = {score.name: average(scene_means(folders, score.name)) for score in scores}
    means |= distances
    curves = {score.name: filtered(folders, rankings, score.name) for score in scores}
    ranked = [result for result in folders if result.folder.name in rankings]
    dataset = folders[0].folder.dataset
    plain = f"{name} FP16 Non-Generated" if dataset == name else name
    return {
        "name": name,
        "title": plain,
        "dataset": dataset,
        "scenes": len({result.folder.scene for result in folders}),
        "means": {score: mean for score, (mean, _) in means.items()},
        "counts": {score: count for score, (_, count) in means.items()},
        "filtering": {
            "scenes": len({result.folder.scene for result in ranked}),
            "shares": list(SHARES),
            "curves": {score: curve for score, curve in curves.items() if curve[0] is not None},
        },
    }


def average(means: dict[str, float]) -> tuple[float | None, int]:
    """Return the mean over scenes, None for none, and their number."""
    return (float(np.mean(list(means.values()))) if means else None), len(means)


def set_distances(
    metrics: dict[str, Metric], sets: dict[str, list[Scored]]
) -> tuple[dict[str, dict[str, tuple[float | None, int]]], dict[str, str]]:
    """Compare each set's completions with its truths by the metrics that compare sets.

    Returns, by set and score, the distance and the number of scenes, and by metric why a set has
    none.
    """
    found: dict[str, dict[str, tuple[float | None, int]]] = {title: {} for title in sets}
    reasons = {}
    for name, metric in metrics.items():
        if not isinstance(metric, SetMetric):
            continue
        for title, folders in sets.items():
            truths, completions, own = set_features(name, folders)
            distance = None
            try:
                if len(truths):
                    distance = metric.distance(truths, completions, own)
            except (UserError, Unavailable) as reason:
                reasons[name] = f"{title}: {reason}"
            scenes = 0 if distance is None else len(truths)
            found[title][metric.scores[0].name] = distance, scenes
    return found, reasons


def set_features(name: str, folders: Sequence[Scored]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the features of a set's truths, each scene's once, and of all its completions.

    With them, the number of each completion's own truth.
    """
    whole = [result for result in folders if result.features.get(name)]
    truths = {result.folder.scene: result.features[name][0] for result in whole}
    completions = [row for result in whole for row in result.features[name][1:]]
    numbers = {scene: number for number, scene in enumerate(truths)}
    own = [numbers[result.folder.scene] for result in whole for _ in result.features[name][1:]]
    return np.array(list(truths.values())), np.array(completions), np.array(own)


def describe_comparison(each: Comparison, scores: Sequence[Score]) -> Report:
    """Return the differences of two sets by score; None if they have no scene in common."""
    found = {score.name: compare(each.first, each.second, score.name) for score in scores}
    scenes = {result.folder.scene for result in each.first}
    common = {result.folder.scene for result in each.second} & scenes
    return {
        "title": each.title,
        "labels": list(each.labels),
        "scenes": sorted(common),
        "differences": {name: asdict(row) if row else None for name, row in found.items()},
    }


def describe_published(scored: Sequence[Scored]) -> list[Report]:
    """Return what others have published for these scenes: for RealBench, and nothing else."""
    if not any(result.folder.dataset == "RealBench" for result in scored):
        return []
    return [
        asdict(row) | {"values": dict(zip(published.COLUMNS, row.values, strict=True))}
        for row in published.ROWS
    ]


def describe_folder(
    result: Scored, scores: Sequence[Score], rankings: dict[str, list[str]]
) -> Report:
    """Return everything about one folder, down to the numbers of its completions."""
    folder = result.folder
    return {
        "name": folder.name,
        "set": folder.set_name,
        "scene": folder.scene,
        "means": {score.name: result.mean(score.name) for score in scores},
        "images": {
            image: {score.name: result.scores.get(score.name, {}).get(image) for score in scores}
            for image in result.images
        },
        "ranking": rankings.get(folder.name),
        "notes": result.notes,
        "left_out": result.left_out,
    }
