"""Compare the reference canvas with the other ways to fill, on scenes with a truth.

python -m scripts.bench_canvas --scenes ../shared/scenes/* --base data/tiny-inpainting

For any base, by its id on the hub or its folder, with `--task_tokens` if there are any. RealFill is
left out unless `--train_flags` says how to train it. What is there already is not made again.
"""

import argparse
import shlex
from pathlib import Path

import numpy as np

from realfill.commands import complete, train
from realfill.settings import DEFAULT_BASE
from scripts.scores import print_scores, score_folder

WAYS = {
    "plain": ("--fill", "model", "--geometry", "off"),
    "RealFill": ("--fill", "model", "--geometry", "off"),
    "canvas": ("--fill", "canvas", "--geometry", "off"),
    "canvas, weak bias": ("--fill", "canvas", "--geometry", "off", "--canvas_bias", "weak"),
    "canvas, strong bias": ("--fill", "canvas", "--geometry", "off", "--canvas_bias", "strong"),
    "geometry, then canvas": ("--fill", "canvas"),
    "geometry, then pieces": ("--fill", "exemplar"),
}


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--scenes", type=Path, nargs="+", required=True, help="scene folders with a truth")
    add("--base", default=DEFAULT_BASE, help="(default: %(default)s)")
    add("--task_tokens", type=Path, help="of the canvas: LeftRefill's file, or one of one's own")
    add("--train_flags", help="of train_realfill.py, for RealFill (default: it is left out)")
    add("--infer_flags", default="--num_images 4", help="of infer.py (default: %(default)s)")
    add("--seed", type=int, default=0, help="(default: %(default)s)")
    add("--work_dir", type=Path, default=Path("work/bench-canvas"), help="(default: %(default)s)")
    return parser.parse_args()


def fill(scene: Path, way: str, arguments: argparse.Namespace) -> Path:
    """Fill the hole of `scene` in one way; return the folder of the completions."""
    folder = arguments.work_dir / scene.name
    completions, model = folder / way.replace(", ", "-").replace(" ", "-"), arguments.base
    if way == "RealFill":
        model = folder / "model"
        given = ("--train_data_dir", scene, "--output_dir", model, "--seed", arguments.seed)
        given += ("--pretrained_model_name_or_path", arguments.base)
        flags = [*shlex.split(arguments.train_flags), *given, "--resume_from_checkpoint", "latest"]
        train.main([str(flag) for flag in flags])
    flags = [*WAYS[way], *shlex.split(arguments.infer_flags)]
    if "exemplar" not in flags:
        flags += ["--model_path", model]
    if "canvas" in flags and arguments.task_tokens:
        flags += ["--task_tokens", arguments.task_tokens]
    given = ("--scene", scene, "--output_dir", completions, "--seed", arguments.seed)
    complete.main([str(flag) for flag in (*given, *flags)])
    return completions


def main() -> None:
    """Print a Markdown table for PSNR and for SSIM inside the hole."""
    arguments = parse_arguments()
    ways = [way for way in WAYS if way != "RealFill" or arguments.train_flags]
    names = [scene.name for scene in arguments.scenes]
    scores = np.empty((len(names), len(ways), 1, 2))
    for i, scene in enumerate(arguments.scenes):
        for j, way in enumerate(ways):
            scores[i, j, 0] = score_folder(fill(scene, way, arguments), scene)
    print_scores(names, ways, scores)


if __name__ == "__main__":
    main()
