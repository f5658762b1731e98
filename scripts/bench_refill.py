"""Measure ReFill: the PSNR inside the hole of its first and its second round, over seeds.

python -m scripts.bench_refill --scenes data/yard data/graf --seeds 0 1 2
"""

import argparse
from pathlib import Path

import numpy as np

from realfill.ranking_file import RANKING_FILE, read_ranking
from realfill.sampling.folder import find_completions, read_completions
from realfill.scene import load_scene
from scripts.bench_ranking import score
from scripts.bench_scenes import run_script
from scripts.scores import describe, print_table, read_truth


def measure(scene_folder: Path, completions: Path) -> tuple[float, float]:
    """Return the mean PSNR in dB inside the hole of all completions, and that of the first."""
    scene, truth = load_scene(scene_folder), read_truth(scene_folder)
    psnr = score(scene, read_completions(find_completions(completions)), truth)
    return float(np.mean(list(psnr.values()))), psnr[read_ranking(completions / RANKING_FILE)[0]]


def main() -> None:
    """Run refill.py on each scene with each seed and print a Markdown table: mean ± deviation."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--scenes", type=Path, nargs="+", required=True, help="scene folders with a truth")
    add("--seeds", type=int, nargs="+", default=[0, 1, 2], help="(default: 0 1 2)")
    add("--train_flags", default="@data/demo.args", help="(default: %(default)s)")
    add("--work_dir", type=Path, default=Path("work/bench-refill"), help="(default: %(default)s)")
    arguments = parser.parse_args()
    rows = []
    for scene in arguments.scenes:
        values = []
        for seed in arguments.seeds:
            folder = arguments.work_dir / f"{scene.name}-{seed}"
            flags = ("--scene", scene, "--output_dir", folder, "--seed", seed, "--matcher", "sift")
            plain = ("--infer_flags=--geometry off", f"--train_flags={arguments.train_flags}")
            run_script("refill.py", *flags, *plain)
            rounds = [measure(scene, folder / f"round-{n}" / "completions") for n in (1, 2)]
            values.append([*rounds[0], *rounds[1], rounds[1][0] - rounds[0][0]])
        rows.append([scene.name, *(describe(column, 2) for column in zip(*values, strict=True))])
    header = ["scene", "round one", "its first", "round two", "its first", "gain of the mean"]
    print_table(header, rows)


if __name__ == "__main__":
    main()
