"""Running one metric on one results folder: `python -m benchmark.psnr …`."""

import sys
from argparse import Namespace
from pathlib import Path

import numpy as np

from benchmark.base import SetMetric, find_metric, in_parallel
from benchmark.flags import add_common_flags, read_options
from benchmark.photos import Photo
from benchmark.suite.cache import Cache
from benchmark.suite.folders import ResultsFolder, natural, numbered
from benchmark.suite.scorer import Scored, Scorer
from realfill.command_line import make_parser, run
from realfill.errors import UserError
from realfill.images.read import is_image
from realfill.storage import file_hash


def run_alone(name: str) -> None:
    """Print the numbers of the metric `name` for each completion in a folder, and their mean."""
    run(lambda: score_alone(name))


def parse_arguments(name: str) -> Namespace:
    """Parse the command line."""
    parser = make_parser(f"{name} of each completion in a results folder, and their mean.")
    add = parser.add_argument
    add("--gt_path", type=Path, required=True, help="the truth (for sets: a folder of truths)")
    add("--mask_path", type=Path, required=True, help="the mask: white = filled")
    add("--results_dir", type=Path, required=True, help="folder with 0.png, 1.png …")
    add("--cache_dir", type=Path, help="keep the numbers there, and look there first")
    add_common_flags(parser)
    return parser.parse_args()


def score_alone(name: str) -> None:
    """Score the folder that the command line names."""
    arguments = parse_arguments(name)
    options = read_options(arguments)
    scorer = Scorer(
        {name: find_metric(name)(options)},
        Cache(arguments.cache_dir),
        arguments.num_images,
        options.resolution,
        set(),
    )
    path = arguments.results_dir
    folder = ResultsFolder(
        path.name, path, path.name, path, given=(arguments.gt_path, arguments.mask_path)
    )
    metric = scorer.metrics[name]
    if isinstance(metric, SetMetric):
        print(f"{name} {set_alone(name, metric, scorer, folder):.6f}")
        return
    result = scorer.score(folder, lambda: None)
    for line in (*result.notes, *result.left_out):
        print(line, file=sys.stderr)
    for score in metric.scores:
        for image, number in result.scores.get(score.name, {}).items():
            print(f"{score.name} {image} {number:.6f}")
        if (mean := result.mean(score.name)) is None:
            raise UserError(scorer.unavailable.get(name, f"{folder.path}: nothing was scored"))
        print(f"{score.name} mean {mean:.6f}")
    print(f"FINAL_SCORE:{result.mean(metric.scores[0].name):.8f}")


def set_alone(name: str, metric: SetMetric, scorer: Scorer, folder: ResultsFolder) -> float:
    """Return the distance between the completions in a folder and a folder of truths."""
    truths_folder, _ = folder.truth_and_mask()
    if not truths_folder.is_dir():
        raise UserError(f"--gt_path {truths_folder}: {name} compares sets; give a folder of truths")
    truths = [path for path in sorted(truths_folder.iterdir()) if path.is_file() and is_image(path)]
    paths = [*sorted(truths, key=natural), *sorted(numbered(folder.path), key=natural)]
    hashes = dict(zip(paths, in_parallel(file_hash, paths), strict=True))
    result = Scored(folder)
    features = scorer.numbers(name, [Photo(path) for path in paths], hashes, None, result)
    if problems := [*scorer.unavailable.values(), *result.left_out]:
        raise UserError("; ".join(problems))
    split = np.array([features[path] for path in paths])
    completions = split[len(truths) :]
    paired = len(completions) == len(truths)
    own = np.arange(len(completions)) if paired else np.full(len(completions), -1)
    return metric.distance(split[: len(truths)], completions, own)
