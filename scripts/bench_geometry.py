"""Compare completions with and without geometry, for scenes that bench_scenes has trained.

python -m scripts.bench_geometry --scenes data/yard data/graf --work_dir work/bench-scenes

PSNR in dB and SSIM inside the hole at the photo's own size, the mean of 16 completions a seed and
the spread over the seeds; beside them what fills the hole without a model.
"""

from pathlib import Path

import cv2
import numpy as np

from benchmark.baselines import fill_without_learning
from realfill.geometry.features import find_correspondences
from realfill.geometry.hypotheses import MINIMUM_MATCHES
from realfill.scene import Scene, load_scene
from realfill.storage import write_json
from scripts.bench_scenes import make_parser, run_script
from scripts.scores import describe, print_table, score_folder, score_images

SEEDS = (0, 100, 200)
COLUMNS = ("mean colour", "Telea", "best homography", "only", "off", "auto")


def fill_by_homographies(scene: Scene) -> list[np.ndarray]:
    """Return the target filled from each reference by one homography of the known region."""
    fills = []
    hole = scene.hole
    found = find_correspondences(scene.target, scene.mask, scene.references)
    for index, reference in enumerate(scene.references.values(), 1):
        here, there = found.places(0, index)
        if len(here) < MINIMUM_MATCHES:
            continue
        here = here * np.divide(scene.target.size, found.sizes[0])
        there = there * np.divide(reference.size, found.sizes[index])
        matrix, _ = cv2.findHomography(there - 0.5, here - 0.5, cv2.USAC_MAGSAC, 2.0)
        warped = cv2.warpPerspective(np.asarray(reference), matrix, scene.target.size)
        fills.append(np.where(hole[..., None], warped, np.asarray(scene.target)))
    return fills


def bench_scene(folder: Path, work: Path) -> dict[str, list[list[float]]]:
    """Return (PSNR, SSIM) for each column: one pair, or one a seed."""
    scene = load_scene(folder)
    target, hole = np.asarray(scene.target), scene.hole
    scores = {
        name: score_images([image], folder)
        for name, image in fill_without_learning(target, hole).items()
    }
    warped = score_images(fill_by_homographies(scene), folder)
    scores["best homography"] = [max(warped)] if warped else []
    for mode in ("only", "off", "auto"):
        scores[mode] = []
        for seed in SEEDS[:1] if mode == "only" else SEEDS:
            output = work / scene.name / f"geometry-{mode}-{seed}"
            given = ("--scene", folder, "--output_dir", output, "--geometry", mode)
            model = ("--model_path", work / scene.name / "model", "--seed", seed)
            run_script("infer.py", *given, *model)
            scores[mode].append(score_folder(output, folder))
    return scores


def row(scores: dict[str, list[list[float]]], which: int, digits: int) -> list[str]:
    """Return the cells of PSNR (`which` 0) or SSIM (1), with the gain of auto over off."""
    values = {column: [pair[which] for pair in scores[column]] for column in COLUMNS}
    cells = [describe(values[column], digits) if values[column] else "n/a" for column in COLUMNS]
    return [*cells, f"{np.mean(values['auto']) - np.mean(values['off']):+.{digits}f}"]


def main() -> None:
    """Bench the scenes one after another and print a Markdown table for either metric."""
    arguments = make_parser(__doc__).parse_args()
    results = {}
    for scene in arguments.scenes:
        results[scene.name] = bench_scene(scene, arguments.work_dir)
        write_json(arguments.work_dir / "geometry.json", results)
    for which, (name, digits) in enumerate((("PSNR (dB)", 2), ("SSIM", 3))):
        rows = [[scene, *row(scores, which, digits)] for scene, scores in results.items()]
        print_table([name, *COLUMNS, "auto - off"], rows)


if __name__ == "__main__":
    main()
