"""A run of the benchmark, from results folders to the files of the report."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark.base import Metric
from benchmark.report.build import Comparison, Report, build_report
from benchmark.report.files import claim_reports, write_reports
from benchmark.suite.cache import Cache
from benchmark.suite.folders import ResultsFolder, find_folders, find_set
from benchmark.suite.progress import Progress
from benchmark.suite.rankings import Ranker
from benchmark.suite.scorer import Scored, Scorer
from realfill.errors import UserError
from realfill.lock import one_writer


@dataclass(frozen=True)
class Job:
    """What to score, with what, and where the report goes."""

    results: Path
    """The folder that holds the results folders."""
    datasets: dict[str, Path]
    """The base folders of RealBench and Custom, as far as they are given."""
    scenes: Sequence[Path]
    """Folders of scene folders."""
    metrics: dict[str, Metric]
    forced: set[str]
    """Names of what to compute again: metrics, or `loftr` for the rankings."""
    num_images: int
    """Completions expected in a folder."""
    resolution: int | None
    """The side at which photos are compared; None is the photos' own size."""
    compare: Sequence[str]
    """Two sets to compare, or none."""
    ranking_script: Path | None
    """What ranks the folders without a ranking; None ranks nothing."""
    cache_dir: Path
    output_file: Path


def run_job(job: Job) -> tuple[Report, list[Path]]:
    """Score, rank and compare; write the report, and return it and the paths of its files.

    Raises `UserError` if there is nothing to score, a set to compare is not there, another run
    writes in the report's folder, or a file there is not an earlier report.
    """
    with one_writer(job.output_file.parent):
        claim_reports(job.output_file)
        folders, unusable, sets = choose_folders(job)
        cache = Cache(job.cache_dir)
        scorer = Scorer(job.metrics, cache, job.num_images, job.resolution, job.forced)
        ranker = Ranker(job.ranking_script, "loftr" in job.forced, cache)
        results = score_folders(folders, scorer, ranker)
        comparisons = choose_comparisons(results, sets, job.compare)
        unavailable = scorer.unavailable | ranker.unavailable
        report = build_report(
            results, job.metrics, ranker.rankings, comparisons, unavailable, unusable
        )
        return report, write_reports(report, results, cache, job.output_file)


def choose_folders(
    job: Job,
) -> tuple[list[ResultsFolder], dict[str, str], list[list[ResultsFolder]]]:
    """Return the folders to score, why others cannot be, and the two sets to compare."""
    for path in (*job.datasets.values(), *job.scenes):
        if not path.is_dir():
            raise UserError(f"{path}: no such folder")
    folders, unusable = find_folders(job.results, job.datasets, job.scenes)
    sets = [find_set(name, folders, job.datasets, job.scenes) for name in job.compare]
    folders += [folder for chosen in sets for folder in chosen if folder not in folders]
    if not folders and not unusable:
        raise UserError(
            f"{job.results}: no results folders in it; they are named like "
            "RealBench-0-results, or like a folder in --scenes, and hold 0.png, 1.png …"
        )
    return folders, unusable, sets


def score_folders(folders: Sequence[ResultsFolder], scorer: Scorer, ranker: Ranker) -> list[Scored]:
    """Score and rank each folder, and say how far it is."""
    results = []
    with Progress(folders, steps=len(scorer.metrics) + 1) as progress:
        for folder in folders:
            results.append(scorer.score(folder, progress.step))
            ranker.rank(results[-1])
            progress.step()
            progress.report(results[-1])
    return results


def choose_comparisons(
    results: Sequence[Scored], sets: Sequence[Sequence[ResultsFolder]], names: Sequence[str]
) -> list[Comparison]:
    """Return the sets to compare: those asked for, precisions, and references."""
    comparisons = []
    if names:
        first, second = ([r for r in results if r.folder in chosen] for chosen in sets)
        labels = (names[0], names[1])
        comparisons.append(Comparison(f"{names[0]} vs {names[1]}", labels, first, second))
    for dataset in sorted({r.folder.dataset for r in results} - {""}, reverse=True):
        of_it = [result for result in results if result.folder.dataset == dataset]
        plain = [result for result in of_it if result.folder.is_plain]
        fp32 = [result for result in of_it if result.folder.is_fp32]
        generated = [result for result in of_it if result.folder.is_generated]
        if fp32:
            title = f"FP16 vs FP32 (Common {dataset} Non-Generated Scenes)"
            comparisons.append(Comparison(title, ("FP16", "FP32"), plain, fp32))
        if generated:
            title = f"Non-Generated vs Generated (Common {dataset} FP16 Scenes)"
            comparisons.append(Comparison(title, ("NonGen", "Gen"), plain, generated))
    return comparisons


def is_incomplete(report: Report) -> bool:
    """Say whether something that should have been scored was not."""
    folders = any(folder["left_out"] for folder in report["folders"])
    return bool(folders or report["unavailable"] or report["not_scored"])
