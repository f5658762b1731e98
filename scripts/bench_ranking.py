"""Measure the ranking: planted completions, real completions, and time. Needs no weights: SIFT.

python -m scripts.bench_ranking --scenes data/yard data/graf --completions work/bench-scenes

Planted completions are the truth, and the truth with the hole's content shifted, blurred,
mirrored, made one colour, or replaced by another scene's. `--completions` is the --work_dir of
scripts.bench_scenes; without it only the planted test and the time are measured.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter, ImageOps
from scipy.stats import kendalltau

from benchmark.psnr import psnr_inside
from realfill.matching.evidence import COUNTS
from realfill.matching.pairs import at_matching_size
from realfill.matching.sift import Sift
from realfill.ranking.rank import Ranking, rank_completions
from realfill.sampling.folder import find_completions, read_completions
from realfill.scene import Scene, load_scene
from scripts.scores import print_table, read_truth

SHIFTS, BLURS = (12, 24, 48), (4, 8)
TIMED_SIZE, TIMED_COMPLETIONS, TIMED_REFERENCES = (768, 576), 16, 5


def plant(scene: Scene, truth: Image.Image, other: Image.Image) -> dict[str, Image.Image]:
    """Return completions of known worth: `truth`, and variants of it inside the hole."""
    contents = {"truth": truth}
    for pixels in SHIFTS:
        shifted = np.roll(np.asarray(truth), (pixels, pixels), axis=(0, 1))
        contents[f"shifted {pixels} px"] = Image.fromarray(shifted)
    for sigma in BLURS:
        contents[f"blurred {sigma} px"] = truth.filter(ImageFilter.GaussianBlur(sigma))
    contents["mirrored"] = mirror_hole(truth, scene.mask)
    known = np.asarray(scene.target)[np.asarray(scene.mask) < 128]
    colour = tuple(known.mean(axis=0).round().astype(int).tolist())
    contents["mean colour"] = Image.new("RGB", truth.size, colour)
    contents["another scene"] = other.resize(truth.size)
    return {
        name: Image.composite(content, scene.target, scene.mask)
        for name, content in contents.items()
    }


def mirror_hole(truth: Image.Image, mask: Image.Image) -> Image.Image:
    """Mirror the box around the hole left to right."""
    box, mirrored = mask.getbbox(), truth.copy()
    mirrored.paste(ImageOps.mirror(truth.crop(box)), box)
    return mirrored


def rank(scene: Scene, completions: dict[str, Image.Image], count: str, cache: Path) -> Ranking:
    """Rank completions with SIFT."""
    photos = (completions, scene.references, scene.mask)
    return rank_completions(*photos, Sift(), count, None, cache)


def score(
    scene: Scene, completions: dict[str, Image.Image], truth: Image.Image
) -> dict[str, float]:
    """Return each completion's PSNR inside the hole, in dB."""
    hole, pixels = scene.hole, np.asarray(truth)
    return {
        name: psnr_inside(np.asarray(image), pixels, hole) for name, image in completions.items()
    }


def tau(ranking: Ranking, psnr: dict[str, float]) -> float:
    """Return Kendall's τ of a ranking against PSNR: 1 is the same order, 0 chance."""
    values = [psnr[completion.name] for completion in ranking.completions]
    return float(np.asarray(kendalltau(range(len(values), 0, -1), values))[0])


def bench_planted(folders: list[Path]) -> None:
    """Rank planted completions by each count and print the numbers and Kendall's τ."""
    truths = [read_truth(folder) for folder in folders]
    numbers, taus = [], []
    for index, folder in enumerate(folders):
        scene = load_scene(folder)
        other = truths[(index + len(folders) // 2) % len(folders)]
        completions = plant(scene, truths[index], other)
        psnr = score(scene, completions, truths[index])
        with tempfile.TemporaryDirectory() as cache:
            rankings = {count: rank(scene, completions, count, Path(cache)) for count in COUNTS}
        counted = {
            count: {each.name: each.number for each in ranking.completions}
            for count, ranking in rankings.items()
        }
        for name in completions:
            cells = [str(counted[count][name]) for count in COUNTS]
            numbers.append([scene.name, name, f"{psnr[name]:.1f}", *cells])
        firsts = [rankings[count].completions[0].name for count in COUNTS]
        taus.append([scene.name, *(tau(rankings[count], psnr) for count in COUNTS), *firsts])
    print_table(["scene", "content of the hole", "PSNR", *COUNTS], numbers)
    mean = [float(np.mean([row[column] for row in taus])) for column in range(1, len(COUNTS) + 1)]
    firsts = [f"first by {count}" for count in COUNTS]
    print_table(["scene", *COUNTS, *firsts], [*taus, ["**mean**", *mean, *("" for _ in COUNTS)]])


def bench_completions(folders: list[Path], work: Path) -> None:
    """Rank real completions and print the best one's PSNR beside the mean of all."""
    rows = []
    for folder in folders:
        scene, truth = load_scene(folder), read_truth(folder)
        for kind in ("fine-tuned", "base-only"):
            completions = read_completions(find_completions(work / scene.name / kind))
            psnr = score(scene, completions, truth)
            with tempfile.TemporaryDirectory() as cache:
                ranking = rank(scene, completions, "geometric", Path(cache))
            best, values = psnr[ranking.completions[0].name], list(psnr.values())
            row = [scene.name, kind, ranking.rule, float(np.mean(values)), best, max(values)]
            rows.append([*row, tau(ranking, psnr)])
    print_table(["scene", "model", "ranked by", "mean", "first", "best there is", "τ"], rows)


def bench_time(folder: Path) -> None:
    """Time loftr_ranking.py twice, and matching with the features computed again for each pair."""
    scene, truth = load_scene(folder), read_truth(folder).resize(TIMED_SIZE)
    photos = [*scene.references.values(), truth]
    references = [
        photo.resize(TIMED_SIZE).rotate(turn)
        for turn, photo in enumerate(islice(cycle(photos), TIMED_REFERENCES))
    ]
    mask = scene.mask.resize(TIMED_SIZE, Image.Resampling.NEAREST)
    completions = [
        Image.composite(truth.filter(ImageFilter.GaussianBlur(index / 8)), truth, mask)
        for index in range(TIMED_COMPLETIONS)
    ]
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        mask.save(work / "mask.png")
        for name, images in (("completions", completions), ("ref", references)):
            (work / name).mkdir()
            for index, image in enumerate(images):
                image.save(work / name / f"{index}.png")
        command = [sys.executable, "loftr_ranking.py", "--rank_only", "--matcher", "sift"]
        command += ["--source_dir", work / "completions", "--ref_dir", work / "ref"]
        seconds = []
        for _ in range(2):
            started = time.monotonic()
            subprocess.run([*map(str, command), "--mask", str(work / "mask.png")], check=True)
            seconds.append(time.monotonic() - started)
    matcher, started = Sift(), time.monotonic()
    for completion in completions:
        for reference in references:
            features = [
                matcher.extract(at_matching_size(image)) for image in (completion, reference)
            ]
            matcher.match(features[0], features[1:])
    seconds.append(time.monotonic() - started)
    kinds = ["loftr_ranking.py, first run", "loftr_ranking.py, second run", "pair by pair"]
    print_table(["what", "seconds"], [list(row) for row in zip(kinds, seconds, strict=True)])


def main() -> None:
    """Measure and print Markdown tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--scenes", type=Path, nargs="+", required=True, help="scene folders with a truth")
    add("--completions", type=Path, help="what scripts.bench_scenes left")
    arguments = parser.parse_args()
    bench_planted(arguments.scenes)
    if arguments.completions:
        bench_completions(arguments.scenes, arguments.completions)
    bench_time(arguments.scenes[0])


if __name__ == "__main__":
    main()
