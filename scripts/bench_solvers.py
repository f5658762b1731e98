"""Compare solvers and their steps with the paper's 200 steps of DDPM, by what comes out.

python -m scripts.bench_solvers --scenes data/yard data/graf --work_dir work/bench-scenes

For scenes that bench_scenes has trained: PSNR in dB and SSIM inside the hole, the mean of 16
completions with the same seeds, no geometry.
"""

from pathlib import Path

import numpy as np

from scripts.bench_scenes import make_parser, run_script
from scripts.scores import print_scores, score_folder

SOLVERS = (("ddpm", 200), ("ddim", 50), *(("dpm", steps) for steps in (25, 20, 12, 8)))


def complete(scene: Path, work: Path, solver: str, steps: int) -> Path:
    """Sample with the trained model; return the folder of the completions."""
    folder = work / scene.name / f"{solver}-{steps}"
    given = ("--scene", scene, "--model_path", work / scene.name / "model", "--seed", 0)
    given += ("--scheduler", solver, "--num_inference_steps", steps, "--geometry", "off")
    run_script("infer.py", *given, "--output_dir", folder)
    return folder


def main() -> None:
    """Print a Markdown table for PSNR and for SSIM."""
    arguments = make_parser(__doc__).parse_args()
    scores = np.empty((len(arguments.scenes), len(SOLVERS), 1, 2))
    for i, scene in enumerate(arguments.scenes):
        for j, solver in enumerate(SOLVERS):
            completions = complete(scene, arguments.work_dir, *solver)
            scores[i, j, 0] = score_folder(completions, scene)
    names = [scene.name for scene in arguments.scenes]
    print_scores(names, [f"{solver} {steps}" for solver, steps in SOLVERS], scores)


if __name__ == "__main__":
    main()
