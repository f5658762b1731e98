"""Compare fast ways with plain ones by what comes out: PSNR and SSIM inside the hole.

python -m scripts.bench_quality --scenes data/yard data/graf --seeds 0 1 2

Two questions: training with encoded draws used several times against new ones for every step
(--latent_reuse), and sampling with few steps of a fast solver against 200 steps of DDPM. The demo's
settings, no geometry, 16 completions. What is there already is not made again.
"""

import argparse
from pathlib import Path

import numpy as np

from realfill.scene import load_scene, load_truth
from realfill.training import TrainingSettings
from scripts.bench_geometry import score_folder
from scripts.bench_ranking import print_table
from scripts.bench_scenes import run_script

REUSES = (1, TrainingSettings.latent_reuse)
SOLVERS = (("ddpm", 200), ("dpm", 25), ("dpm", 20), ("dpm", 15), ("dpm", 10))
DEFAULT_SOLVER = ("dpm", 25)


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--scenes", type=Path, nargs="+", required=True, help="scene folders with a truth")
    add("--seeds", type=int, nargs="+", default=[0, 1, 2], help="(default: 0 1 2)")
    add("--work_dir", type=Path, default=Path("work/bench-quality"), help="(default: %(default)s)")
    return parser.parse_args()


def completions(scene: Path, folder: Path, reuse: int, solver: tuple[str, int], seed: int) -> Path:
    """Train and sample, where that is not done yet; return the folder of the completions."""
    output = folder / f"reuse-{reuse}" / "{}-{}".format(*solver)
    if (output / "15.png").exists():
        return output
    model = output.parent / "model"
    if not model.exists():
        flags = ("@data/demo.args", "--train_data_dir", scene, "--output_dir", model)
        run_script("train_realfill.py", *flags, "--seed", seed, "--latent_reuse", reuse)
    name, steps = solver
    flags = ("--model_path", model, "--scene", scene, "--output_dir", output, "--seed", seed)
    how = ("--geometry", "off", "--scheduler", name, "--num_inference_steps", steps)
    run_script("infer.py", *flags, *how)
    return output


def cells(values: np.ndarray, digits: int) -> str:
    """Return mean ± spread over the seeds."""
    spread = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{spread}"


def main() -> None:
    """Print a Markdown table for either question."""
    arguments = parse_arguments()
    ways = {f"used {reuse} times": (reuse, DEFAULT_SOLVER) for reuse in REUSES}
    solvers = {"{} {}".format(*solver): (REUSES[1], solver) for solver in SOLVERS}
    scores: dict[tuple, np.ndarray] = {}
    for scene in arguments.scenes:
        truth, hole = np.asarray(load_truth(scene)), np.asarray(load_scene(scene).mask) > 127
        for way in {*ways.values(), *solvers.values()}:
            pairs = []
            for seed in arguments.seeds:
                work = arguments.work_dir / f"{scene.name}-{seed}"
                pairs.append(score_folder(completions(scene, work, *way, seed), truth, hole))
            scores[scene.name, way] = np.array(pairs)
    for columns in (ways, solvers):
        for which, (metric, digits) in enumerate((("PSNR (dB)", 2), ("SSIM", 3))):
            names = [scene.name for scene in arguments.scenes]
            rows = [
                [name, *(cells(scores[name, way][:, which], digits) for way in columns.values())]
                for name in names
            ]
            means = [
                np.mean([scores[name, way][:, which] for name in names], axis=0)
                for way in columns.values()
            ]
            rows.append(["**mean**", *(cells(mean, digits) for mean in means)])
            print()
            print_table([metric, *columns], rows)


if __name__ == "__main__":
    main()
