"""Compare encoded draws used several times with new ones for every step, by what comes out.

python -m scripts.bench_quality --scenes data/yard data/graf --seeds 0 1 2

PSNR in dB and SSIM inside the hole, 16 completions, the demo's settings, no geometry. What is
there already is not made again.
"""

import argparse
from pathlib import Path

import numpy as np

from realfill.settings import TrainingSettings
from scripts.bench_scenes import run_script
from scripts.scores import print_scores, score_folder

REUSES = (1, TrainingSettings.latent_reuse)


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--scenes", type=Path, nargs="+", required=True, help="scene folders with a truth")
    add("--seeds", type=int, nargs="+", default=[0, 1, 2], help="(default: 0 1 2)")
    add("--work_dir", type=Path, default=Path("work/bench-quality"), help="(default: %(default)s)")
    return parser.parse_args()


def complete(scene: Path, folder: Path, reuse: int, seed: int) -> Path:
    """Train and sample, if that is not done yet; return the folder of the completions."""
    model, completions = folder / "model", folder / "completions"
    if not (completions / "15.png").exists():
        given = ("--train_data_dir", scene, "--output_dir", model, "--seed", seed)
        more = ("--latent_reuse", reuse, "--resume_from_checkpoint", "latest")
        run_script("train_realfill.py", "@data/demo.args", *given, *more)
        given = ("--model_path", model, "--scene", scene, "--output_dir", completions)
        run_script("infer.py", *given, "--seed", seed, "--geometry", "off")
    return completions


def main() -> None:
    """Print a Markdown table for PSNR and for SSIM."""
    arguments = parse_arguments()
    names = [scene.name for scene in arguments.scenes]
    scores = np.empty((len(names), len(REUSES), len(arguments.seeds), 2))
    for i, scene in enumerate(arguments.scenes):
        for j, reuse in enumerate(REUSES):
            for k, seed in enumerate(arguments.seeds):
                folder = arguments.work_dir / f"{scene.name}-{seed}" / f"reuse-{reuse}"
                completions = complete(scene, folder, reuse, seed)
                scores[i, j, k] = score_folder(completions, scene)
    print_scores(names, [f"used {reuse} times" for reuse in REUSES], scores)


if __name__ == "__main__":
    main()
