"""Measure what geometry alone fills: `infer.py --geometry only` on scenes whose truth is known.

python -m scripts.bench_prefill --scenes data/yard data/graf --work_dir work/bench-prefill

A scene a line: how the cameras were found, PSNR inside the hole (of the mean colour, if geometry
gave up), the share of the hole that is sure (confidence of 102 or more), the share of the sure
pixels with an error under 0.1 (mean absolute RGB error in [0, 1]), and the seconds and gigabytes
of the whole process. Writes reliability.png: the error against the confidence, over all scenes.
"""

import json
import os
import re
import subprocess
import sys
import time
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

from benchmark.baselines import fill_without_learning
from benchmark.psnr import psnr_inside
from realfill.scene import load_scene
from realfill.storage import appears_whole
from scripts.scores import print_table, read_truth

SURE, RIGHT = 102, 0.1


def run_only(folder: Path, output: Path) -> tuple[float, float]:
    """Run `infer.py --geometry only`; return its seconds and peak memory in GB."""
    flags = ["--geometry", "only", "--scene", str(folder), "--output_dir", str(output)]
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "infer.py", *flags, "--overwrite"])
    _, _, usage = os.wait4(process.pid, 0)
    return time.perf_counter() - start, usage.ru_maxrss / 1e6


def bench_scene(folder: Path, output: Path) -> tuple[list, np.ndarray, np.ndarray]:
    """Return the table's row, and the confidences and errors of the hole's pixels, `(N,)` each."""
    for name in ("cameras.json", "0.png", "confidence.png"):
        (output / name).unlink(missing_ok=True)
    seconds, memory = run_only(folder, output)
    scene = load_scene(folder)
    truth, hole = np.asarray(read_truth(folder)), scene.hole
    message = json.loads((output / "cameras.json").read_text("utf-8"))["message"]
    mean = fill_without_learning(np.asarray(scene.target), hole)["mean colour"]
    filled, confidence = mean, np.zeros(hole.sum(), np.uint8)
    if (output / "0.png").exists():
        filled = np.asarray(Image.open(output / "0.png").convert("RGB"))
        confidence = np.asarray(Image.open(output / "confidence.png"))[hole]
    errors = (np.abs(filled.astype(float) - truth).mean(-1) / 255)[hole]
    sure = confidence >= SURE
    row = [scene.name, re.split(r", \d+%| \(", message)[0], psnr_inside(mean, truth, hole)]
    right = f"{(errors[sure] < RIGHT).mean():.1%}" if sure.any() else "n/a"
    row += [psnr_inside(filled, truth, hole), f"{sure.mean():.0%}", right, seconds, memory]
    return row, confidence, errors


def draw_reliability(path: Path, confidence: np.ndarray, errors: np.ndarray) -> None:
    """Draw the share of pixels with an error under 0.1, and their number, by confidence."""
    from matplotlib.figure import Figure

    edges = np.linspace(1, 256, 11)
    bins = [(confidence >= low) & (confidence < high) for low, high in pairwise(edges)]
    figure = Figure((6, 4), layout="tight")
    axes = figure.subplots()
    middles, width = (edges[:-1] + edges[1:]) / 510, (edges[1] - edges[0]) / 255
    shares = [inside.mean() for inside in bins]
    axes.bar(middles, shares, width * 0.9, color="lightgrey", label="share of all hole pixels")
    right = [(errors[inside] < RIGHT).mean() if inside.any() else np.nan for inside in bins]
    axes.plot(middles, right, "o-", label="of these, error under 0.1")
    axes.axvline(SURE / 255, color="black", linestyle=":", label="sure")
    axes.set(xlabel="confidence", ylim=(0, 1), xlim=(0, 1))
    axes.legend()
    with appears_whole(path) as temporary:
        figure.savefig(temporary, dpi=100)


def main() -> None:
    """Bench the scenes one after another and print a Markdown table."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=Path, nargs="+", required=True)
    parser.add_argument("--work_dir", type=Path, default=Path("work/bench-prefill"))
    arguments = parser.parse_args()
    measured = [
        bench_scene(folder, arguments.work_dir / folder.name) for folder in arguments.scenes
    ]
    confidence = np.concatenate([of_scene for _, of_scene, _ in measured])
    errors = np.concatenate([of_scene for _, _, of_scene in measured])
    rows = [row for row, _, _ in measured]
    sure = confidence >= SURE
    means = [float(np.mean([row[column] for row in rows])) for column in (2, 3)]
    rest = [f"{sure.mean():.0%}", f"{(errors[sure] < RIGHT).mean():.1%}"]
    slow = [float(np.median([row[6] for row in rows])), max(row[7] for row in rows)]
    header = ["scene", "cameras", "mean colour", "PSNR (dB)", "sure", "right", "seconds", "GB"]
    print_table(header, [*rows, ["all (mean; median; most)", "", *means, *rest, *slow]])
    draw_reliability(arguments.work_dir / "reliability.png", confidence, errors)


if __name__ == "__main__":
    main()
