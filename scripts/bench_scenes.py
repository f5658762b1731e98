"""Train and sample scenes with the demo's settings and print the PSNR inside the hole.

python -m scripts.bench_scenes --scenes data/yard data/graf --work_dir work/bench-scenes

Beside the completions with and without fine-tuning (same seeds, no geometry) stand two ways to fill
a hole that learn nothing: the mean colour of the known pixels, and OpenCV's Telea inpainting.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from benchmark.baselines import fill_without_learning
from realfill.scene import load_scene
from realfill.storage import write_json
from scripts.scores import print_table, score_folder, score_images

LAUNCH = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes=1"]
LAUNCH += ["--num_machines=1", "--mixed_precision=no", "--dynamo_backend=no"]
SAMPLING = ("--geometry", "off", "--num_inference_steps", 8)
"""As the demo does, without geometry."""
COLUMNS = ("mean colour", "Telea", "base only", "fine-tuned")


def run_script(*arguments: object) -> float:
    """Run one of the scripts and return the seconds that it took."""
    started = time.monotonic()
    subprocess.run([*LAUNCH, *map(str, arguments)], check=True)
    return time.monotonic() - started


def bench_scene(scene_folder: Path, work: Path, train_flags: list[str]) -> dict:
    """Train, sample with and without the adaptation, and score one scene."""
    scene = load_scene(scene_folder)
    folder = work / scene.name
    model = ("--model_path", folder / "model", "--scene", scene_folder, "--seed", 0)
    model += SAMPLING
    seconds = {
        "training": run_script(
            "train_realfill.py",
            "@data/demo.args",
            *("--train_data_dir", scene_folder, "--output_dir", folder / "model"),
            *("--resume_from_checkpoint", "latest"),
            *(f"--{flag}" for flag in train_flags),
        ),
        "sampling": run_script("infer.py", *model, "--output_dir", folder / "fine-tuned"),
        "base only": run_script(
            "infer.py", *model, "--base_only", "--output_dir", folder / "base-only"
        ),
    }
    fills = fill_without_learning(np.asarray(scene.target), scene.hole)
    scores = {name: score_images([image], scene_folder)[0] for name, image in fills.items()}
    for name in ("base only", "fine-tuned"):
        scores[name] = score_folder(folder / name.replace(" ", "-"), scene_folder)
    return {"scores": scores, "seconds": seconds}


def make_parser(description: str | None) -> argparse.ArgumentParser:
    """Return the parser of a benchmark over trained scenes."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--scenes", type=Path, nargs="+", required=True, help="scene folders with a truth")
    add("--work_dir", type=Path, default=Path("work/bench-scenes"), help="(default: %(default)s)")
    return parser


def main() -> None:
    """Bench the scenes one after another and print a Markdown table."""
    parser = make_parser(__doc__)
    parser.add_argument("--train_flags", nargs="*", default=[], help="NAME=VALUE, over the demo's")
    arguments = parser.parse_args()
    results = {}
    for scene in arguments.scenes:
        results[scene.name] = bench_scene(scene, arguments.work_dir, arguments.train_flags)
        write_json(arguments.work_dir / "results.json", results)
    psnr = np.array([[r["scores"][column][0] for column in COLUMNS] for r in results.values()])
    psnr = np.vstack([psnr, psnr.mean(axis=0)])
    rows = [
        [name, *row.tolist(), f"{row[3] - row[2]:+.2f}"]
        for name, row in zip([*results, "**mean**"], psnr, strict=True)
    ]
    print_table(["scene", *COLUMNS, "gain"], rows)
    print(json.dumps({name: result["seconds"] for name, result in results.items()}))


if __name__ == "__main__":
    main()
