"""Score results folders against the truth, compare sets of them, and write the report.

python benchmarks.py --results_base_dir RESULTS --realbench_dataset_dir DATASET
python benchmarks.py --results_base_dir RESULTS --scenes SCENES --compare base-only fine-tuned
"""

import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

from benchmark.base import METRICS, Metric, find_metric
from benchmark.flags import add_common_flags, read_options
from benchmark.report.build import Comparison, build_report
from benchmark.report.files import claim_reports, write_reports
from benchmark.report.text import as_text
from benchmark.suite.cache import Cache
from benchmark.suite.folders import ResultsFolder, find_folders, find_set
from benchmark.suite.progress import Progress
from benchmark.suite.rankings import Ranker
from benchmark.suite.scorer import Scored, Scorer
from realfill.command_line import SOMETHING_LEFT_OUT, make_parser, run
from realfill.errors import UserError
from realfill.lock import one_writer

EXIT_CODES = (
    "Exit code 0: all was scored; 3: the report is there, and says what was left out; "
    "2: nothing was done."
)


def parse_arguments() -> Namespace:
    """Parse the command line."""
    parser = make_parser("Score results folders against the truth and write the report.")
    parser.epilog = EXIT_CODES
    add = parser.add_argument
    add("--results_base_dir", type=Path, required=True, help="folder that holds results folders")
    add("--realbench_dataset_dir", type=Path, help="folder with RealBench/0/target/gt.png …")
    add("--custom_dataset_dir", type=Path, help="folder with Custom/0/target/gt.png …")
    add("--scenes", type=Path, help="folder of scene folders, named like the results folders")
    add(
        "--cache_dir",
        type=Path,
        default=Path("benchmark_cache"),
        help="keep the numbers there, and look there first (default: %(default)s)",
    )
    add(
        "--output_file",
        type=Path,
        default=Path("benchmark_report.txt"),
        help="the report; .json, .csv and .html go beside it (default: %(default)s)",
    )
    add(
        "--metrics",
        nargs="+",
        default=list(METRICS),
        metavar="METRIC",
        help=f"metrics by name (default: {' '.join(METRICS)}; there is fid, too)",
    )
    add("--compare", nargs=2, metavar=("A", "B"), help="two sets: names, or folders of results")
    add(
        "--force_recalc",
        nargs="+",
        default=[],
        metavar="METRIC",
        help="compute these again: metrics, 'loftr' for the rankings, or 'all'",
    )
    add(
        "--loftr_script_path",
        default="loftr_ranking.py",
        help="script that ranks what is not ranked; 'none' ranks nothing (default: %(default)s)",
    )
    add_common_flags(parser)
    return parser.parse_args()


def find_script(name: str) -> Path | None:
    """Return the ranking script, by itself or beside this one; None for 'none'."""
    if name.lower() == "none":
        return None
    beside = Path(__file__).resolve().parent / name
    return beside if beside.is_file() else Path(name)


def choose_folders(
    arguments: Namespace,
) -> tuple[list[ResultsFolder], dict[str, str], list[list[ResultsFolder]]]:
    """Return the folders to score, why others cannot be, and the two sets to compare."""
    given = {
        "RealBench": arguments.realbench_dataset_dir,
        "Custom": arguments.custom_dataset_dir,
    }
    for path in (*given.values(), arguments.scenes):
        if path and not path.is_dir():
            raise UserError(f"{path}: no such folder")
    datasets = {name: path for name, path in given.items() if path}
    folders, unusable = find_folders(arguments.results_base_dir, datasets, arguments.scenes)
    sets = [find_set(name, folders, datasets, arguments.scenes) for name in arguments.compare or ()]
    folders += [folder for chosen in sets for folder in chosen if folder not in folders]
    if not folders and not unusable:
        raise UserError(
            f"{arguments.results_base_dir}: no results folders in it; they are named like "
            "RealBench-0-results, or like a folder in --scenes, and hold 0.png, 1.png …"
        )
    return folders, unusable, sets


def choose_comparisons(
    results: list[Scored], sets: list[list[ResultsFolder]], names: list[str] | None
) -> list[Comparison]:
    """Return the sets to compare: those asked for, precisions, and references."""
    comparisons = []
    if names:
        first, second = ([r for r in results if r.folder in chosen] for chosen in sets)
        comparisons.append(Comparison(f"{names[0]} vs {names[1]}", tuple(names), first, second))
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


def left_out(report: dict[str, Any]) -> bool:
    """Say whether something that should have been scored was not."""
    folders = any(folder["left_out"] for folder in report["folders"])
    return bool(folders or report["unavailable"] or report["not_scored"])


def main() -> None:
    """Score, rank, analyse, and write the report in four forms."""
    arguments = parse_arguments()
    options = read_options(arguments)
    metrics = {name.lower(): find_metric(name)(options) for name in arguments.metrics}
    forced = {name.lower() for name in arguments.force_recalc}
    if unknown := forced - {"all", "loftr", *metrics}:
        raise UserError(f"--force_recalc {' '.join(unknown)}: not among the --metrics")
    if "all" in forced:
        forced |= {"loftr", *metrics}
    with one_writer(arguments.output_file.parent):
        report = score(arguments, metrics, forced, options.resolution)
    if left_out(report):
        print("something was left out: see the end of the report", file=sys.stderr)
        sys.exit(SOMETHING_LEFT_OUT)


def score(
    arguments: Namespace, metrics: dict[str, Metric], forced: set[str], resolution: int | None
) -> dict[str, Any]:
    """Score what the arguments name; write the report and return it."""
    claim_reports(arguments.output_file)
    folders, unusable, sets = choose_folders(arguments)
    cache = Cache(arguments.cache_dir)
    scorer = Scorer(metrics, cache, arguments.num_images, resolution, forced)
    ranker = Ranker(find_script(arguments.loftr_script_path), "loftr" in forced, cache)
    results = []
    with Progress(folders, steps=len(metrics) + 1) as progress:
        for folder in folders:
            results.append(scorer.score(folder, progress.step))
            ranker.rank(results[-1])
            progress.step()
            progress.report(results[-1])
    comparisons = choose_comparisons(results, sets, arguments.compare)
    unavailable = scorer.unavailable | ranker.unavailable
    report = build_report(results, metrics, ranker.rankings, comparisons, unavailable, unusable)
    paths = write_reports(report, results, cache, arguments.output_file)
    print(as_text(report))
    for path in paths:
        print(f"wrote {path}")
    return report


if __name__ == "__main__":
    run(main)
