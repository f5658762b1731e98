"""Score completions from exemplars on scenes with a truth, and other ways to fill the hole.

python -m scripts.bench_exemplars --scenes data/yard data/graf --work_dir work/bench-exemplars

Inside the hole at the photo's own size: PSNR in dB and SSIM, the mean over the completions and ±
its spread over the seeds; gradient energy and correspondences over the truth's. "first" is the
first-ranked completion, rho the rank correlation of its judge's order with a score.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.stats import spearmanr

from benchmark.baselines import fill_without_learning
from realfill.matching.pairs import choose_matcher
from realfill.ranking.rank import rank_completions
from realfill.ranking_file import RANKING_FILE, read_ranking
from realfill.sampling.folder import find_completions, read_completions
from realfill.scene import Scene, load_scene
from realfill.storage import write_json
from scripts.bench_scenes import make_parser
from scripts.scores import describe, print_table, read_truth, score_images

SEEDS = (0, 100, 200)
WAYS = {
    "geometry only": ("--geometry", "only"),
    "geometry, embedded base": (
        "--model_path",
        "data/tiny-inpainting",
        *("--num_inference_steps", 8),
    ),
    "exemplars": ("--geometry", "off"),
    "geometry, exemplars": (),
}
ONE_SEED = ("geometry only", "geometry, embedded base")


def gradient_energy(image: np.ndarray, hole: np.ndarray) -> float:
    """Return the mean squared gradient of uint8 `(H, W, 3)` inside the bool `(H, W)` hole."""
    grey = image.astype(float).mean(-1)
    return float(np.square(np.gradient(grey)).sum(0)[hole].mean())


def count_correspondences(
    images: dict[str, Image.Image], scene: Scene, truth: Image.Image, cache: Path
) -> float:
    """Return the mean correspondences of completions inside the hole, over the truth's."""
    given = (scene.references, scene.mask, choose_matcher("sift"), "geometric", None, cache)
    ranking = rank_completions(images | {"truth": truth}, *given)
    numbers = {each.name: each.number for each in ranking.completions}
    expected = numbers.pop("truth")
    return float(np.mean(list(numbers.values())) / expected) if expected else float("nan")


def read_run(folder: Path, scene_folder: Path) -> dict[str, float]:
    """Return the figures of one folder of completions."""
    scene, truth = load_scene(scene_folder), read_truth(scene_folder)
    hole = scene.hole
    images = read_completions(find_completions(folder))
    pixels = {name: np.asarray(image) for name, image in images.items()}
    scores = dict(zip(pixels, score_images(pixels.values(), scene_folder), strict=True))
    psnr, ssim = np.mean(list(scores.values()), axis=0)
    energy = np.mean([gradient_energy(image, hole) for image in pixels.values()])
    figures = {
        "psnr": float(psnr),
        "ssim": float(ssim),
        "gradients": float(energy / gradient_energy(np.asarray(truth), hole)),
        "matches": count_correspondences(images, scene, truth, folder / ".matches"),
    }
    ranking_file = folder / RANKING_FILE
    if ranking_file.exists():
        order = read_ranking(ranking_file)
        figures["first psnr"], figures["first ssim"] = map(float, scores[order[0]])
        distinct = {image.tobytes(): name for name, image in pixels.items()}.values()
        by_rank = np.array([scores[name] for name in order if name in distinct])
        if len(by_rank) > 2:
            for which, name in enumerate(("rho psnr", "rho ssim")):
                figures[name] = -float(
                    np.asarray(spearmanr(range(len(by_rank)), by_rank[:, which]))[0]
                )
    return figures


def bench_scene(folder: Path, work: Path, count: int, seeds: list[int]) -> dict:
    """Return the figures of each way, a list with one entry a seed."""
    scene = load_scene(folder)
    fills = fill_without_learning(np.asarray(scene.target), scene.hole)
    results: dict[str, list[dict[str, float]]] = {}
    for name, image in fills.items():
        [[psnr, ssim]] = score_images([image], folder)
        results[name] = [{"psnr": psnr, "ssim": ssim}]
    for way, flags in WAYS.items():
        results[way] = []
        for seed in seeds[:1] if way in ONE_SEED else seeds:
            output = work / scene.name / f"{way.replace(', ', '-').replace(' ', '-')}-{seed}"
            given = ("--scene", folder, "--output_dir", output, "--seed", seed)
            command = [sys.executable, "infer.py", *given, "--num_images", count, *flags]
            done = subprocess.run([str(part) for part in command], check=False)
            if done.returncode == 0:  # 2 if geometry alone fills nothing
                results[way].append(read_run(output, folder))
    return results


def main() -> None:
    """Bench the scenes one after another and print a Markdown table a figure."""
    parser = make_parser(__doc__)
    parser.add_argument("--num_images", type=int, default=4, help="(default: %(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    arguments = parser.parse_args()
    results = {}
    for scene in arguments.scenes:
        results[scene.name] = bench_scene(
            scene, arguments.work_dir, arguments.num_images, arguments.seeds
        )
        write_json(arguments.work_dir / "exemplars.json", results)
    ways = list(next(iter(results.values())))
    for figure in ("psnr", "ssim", "gradients", "matches", "first psnr", "first ssim"):
        rows = []
        for scene, by_way in results.items():
            values = {
                way: [run[figure] for run in runs if figure in run] for way, runs in by_way.items()
            }
            digits = 2 if "psnr" in figure or figure in ("gradients", "matches") else 3
            cells = [describe(values[way], digits) if values[way] else "n/a" for way in ways]
            rows.append([scene, *cells])
        print_table([figure, *ways], rows)


if __name__ == "__main__":
    main()
