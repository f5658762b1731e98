"""Time benchmarks.py, and beside it the suite of eric15342335/realfill on the same images.

python -m scripts.bench_benchmarks --other_suite CHECKOUT --scenes 33 --metrics psnr ssim

The scenes are the demo's, with 16 completions each that differ from the truth by noise. DINO's
model is of its real size, with random weights.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

IMAGES = 16
OTHER_NAMES = {"psnr": "PSNR", "ssim": "SSIM", "dino": "DINO"}


def write_results(work: Path, scenes: int) -> None:
    """Write a dataset and a results directory, named as for RealBench."""
    for scene in range(scenes):
        source = Path("data") / ("yard", "graf")[scene % 2] / "target"
        target = work / "data" / "RealBench" / str(scene) / "target"
        target.mkdir(parents=True)
        for name in ("gt.png", "mask.png"):
            shutil.copy(source / name, target / name)
        truth = np.asarray(Image.open(target / "gt.png").convert("RGB")).astype(np.float32)
        folder = work / "results" / f"RealBench-{scene}-results"
        folder.mkdir(parents=True)
        for image in range(IMAGES):
            noise = np.random.default_rng([scene, image]).normal(0, 9, truth.shape)
            pixels = (truth + noise).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{image}.png", compress_level=1)


def write_model(work: Path) -> None:
    """Write a random DINO ViT-S/16 for `--model_dir`, and as the hub's cache holds one."""
    from transformers import ViTConfig, ViTModel

    config = ViTConfig(hidden_size=384, num_attention_heads=6, intermediate_size=1536)
    model = ViTModel(config)
    cached = work / "hub" / "models--facebook--dino-vits16"
    model.save_pretrained(work / "models" / "dino-vits16")
    model.save_pretrained(cached / "snapshots" / ("0" * 40))
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("0" * 40)


def run(script: Path, work: Path, name: str, *flags: object) -> tuple[float, float]:
    """Run a suite over the results; return the seconds that it took, and those of processors."""
    command = [sys.executable, script, "--results_base_dir", work / "results"]
    command += ["--realbench_dataset_dir", work / "data", "--cache_dir", work / f"cache-{name}"]
    command += ["--output_file", work / f"{name}.txt", *flags]
    environment = os.environ | {"HF_HUB_CACHE": str(work / "hub"), "HF_HUB_OFFLINE": "1"}
    started, before = time.monotonic(), os.times()
    subprocess.run([str(part) for part in command], env=environment, check=True)
    after = os.times()
    used = after.children_user - before.children_user
    return time.monotonic() - started, used + after.children_system - before.children_system


def main() -> None:
    """Time a first run, a second, and the other suite."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--scenes", type=int, default=33, help="(default: %(default)s)")
    add("--metrics", nargs="+", choices=list(OTHER_NAMES), default=["psnr", "ssim"])
    add("--other_suite", type=Path, help="checkout of eric15342335/realfill")
    add("--work_dir", type=Path, default=Path("work/bench-benchmarks"), help="is made anew")
    arguments = parser.parse_args()
    work = arguments.work_dir.resolve()
    shutil.rmtree(work, ignore_errors=True)
    write_results(work, arguments.scenes)
    if "dino" in arguments.metrics:
        write_model(work)
    flags = ["--metrics", *arguments.metrics, "--loftr_script_path", "none"]
    flags += ["--model_dir", work / "models"]
    ours = Path("benchmarks.py").resolve()
    seconds = {
        "first run": run(ours, work, "ours", *flags),
        "second run": run(ours, work, "ours", *flags),
    }
    if arguments.other_suite:
        names = [OTHER_NAMES[name] for name in arguments.metrics]
        script = arguments.other_suite.resolve() / "benchmarks.py"
        # Its own default ranks with LoFTR, too; a name that does not exist turns that off.
        flags = ["--metrics", *names, "--loftr_script_path", "none"]
        seconds["the other suite"] = run(script, work, "other", *flags)
    print(f"{arguments.scenes} scenes of {IMAGES} images, {' '.join(arguments.metrics)}")
    for what, (waited, used) in seconds.items():
        print(f"{what}: {waited:.1f} s, {used:.1f} s of processor time")


if __name__ == "__main__":
    main()
