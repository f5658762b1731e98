"""Score results folders against the truth, compare sets of them, and write the report.

python benchmarks.py --results_base_dir RESULTS --realbench_dataset_dir DATASET
python benchmarks.py --results_base_dir RESULTS --scenes SCENES --compare base-only fine-tuned
"""

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from benchmark.base import METRICS, ON_REQUEST, find_metric
from benchmark.flags import add_common_flags, read_options
from benchmark.report.build import Report
from benchmark.report.job import Job, is_incomplete, run_job
from benchmark.report.text import as_text
from realfill.command_line import SOMETHING_LEFT_OUT, make_parser, run
from realfill.errors import UserError

EXIT_CODES = (
    "Exit code 0: all was scored; 3: the report is there, and says what was left out; "
    "2: nothing was done."
)


def build_parser() -> ArgumentParser:
    """Return the parser of the flags."""
    parser = make_parser("Score results folders against the truth and write the report.")
    parser.epilog = EXIT_CODES
    add = parser.add_argument
    add("--results_base_dir", type=Path, required=True, help="folder that holds results folders")
    add("--realbench_dataset_dir", type=Path, help="folder with RealBench/0/target/gt.png …")
    add("--custom_dataset_dir", type=Path, help="folder with Custom/0/target/gt.png …")
    add(
        "--scenes",
        type=Path,
        nargs="+",
        default=[],
        help="folders of scene folders, named like the results folders",
    )
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
        help=f"metrics by name; on request: {' '.join(ON_REQUEST)} (default: {' '.join(METRICS)})",
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
    return parser


def find_script(name: str) -> Path | None:
    """Return the ranking script, by itself or beside this one; None for 'none'."""
    if name.lower() == "none":
        return None
    beside = Path(__file__).resolve().parent / name
    return beside if beside.is_file() else Path(name)


def read_job(arguments: Namespace) -> Job:
    """Return the run that the flags describe. Raises `UserError` for an unknown metric."""
    options = read_options(arguments)
    metrics = {name.lower(): find_metric(name)(options) for name in arguments.metrics}
    forced = {name.lower() for name in arguments.force_recalc}
    if unknown := forced - {"all", "loftr", *metrics}:
        raise UserError(f"--force_recalc {' '.join(unknown)}: not among the --metrics")
    if "all" in forced:
        forced |= {"loftr", *metrics}
    datasets = {
        "RealBench": arguments.realbench_dataset_dir,
        "Custom": arguments.custom_dataset_dir,
    }
    return Job(
        results=arguments.results_base_dir,
        datasets={name: path for name, path in datasets.items() if path},
        scenes=arguments.scenes,
        metrics=metrics,
        forced=forced,
        num_images=arguments.num_images,
        resolution=options.resolution,
        compare=arguments.compare or (),
        ranking_script=find_script(arguments.loftr_script_path),
        cache_dir=arguments.cache_dir,
        output_file=arguments.output_file,
    )


def score(argv: list[str] | None) -> Report:
    """Score, rank, analyse, and write the report in four forms; return it as well."""
    report, paths = run_job(read_job(build_parser().parse_args(argv)))
    print(as_text(report))
    for path in paths:
        print(f"wrote {path}")
    return report


def main(argv: list[str] | None = None) -> None:
    """Score what the flags name, and say if something was left out."""
    if is_incomplete(score(argv)):
        print("something was left out: see the end of the report", file=sys.stderr)
        sys.exit(SOMETHING_LEFT_OUT)


if __name__ == "__main__":
    run(main)
