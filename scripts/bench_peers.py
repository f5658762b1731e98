"""Train and sample one scene with another implementation and with this one, in turn.

python -m scripts.bench_peers --other_suite OTHER --base data/tiny-inpainting --resolution 128

OTHER holds a train_realfill.py and an infer.py that take the flags of eric15342335/realfill; the
name of the base, the device and the size in its infer.py must have been set for this machine
beforehand. Both get the same flags. Training runs twice, for a few steps and for all, so that the
time of a step is told apart from that of starting and saving.
"""

import argparse
import os
import shutil
import subprocess
import time
from pathlib import Path

from realfill.files import write_json
from realfill.results import library_versions
from scripts.bench_scenes import LAUNCH

FEW = 10
"""Steps of the short training."""


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--other_suite", type=Path, required=True, help="folder of the other implementation")
    add("--base", type=Path, required=True, help="base for this project, and for the other")
    add("--other_base", type=Path, help="the other's, where it needs another precision on disk")
    add("--scene", type=Path, default=Path("data/yard"), help="(default: %(default)s)")
    add("--resolution", type=int, default=512, help="(default: %(default)s)")
    add("--batch_size", type=int, default=8, help="(default: %(default)s)")
    add("--steps", type=int, default=300, help="training steps (default: %(default)s)")
    add("--train_flags", nargs="*", default=[], help="more flags for both, without the dashes")
    add("--no_sampling", action="store_true", help="only train")
    add("--work_dir", type=Path, default=Path("work/bench-peers"), help="(default: %(default)s)")
    return parser.parse_args()


def run(*command: object) -> dict[str, float]:
    """Run a script with accelerate; return its seconds and the most gigabytes it has held."""
    started = time.monotonic()
    process = subprocess.Popen([*LAUNCH, *map(str, command)])
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{command[0]} failed")
    return {"seconds": time.monotonic() - started, "gigabytes": usage.ru_maxrss / 2**20}


def train(suite: Path, base: Path, steps: int, arguments: argparse.Namespace) -> dict[str, float]:
    """Train with the `suite`, anew, and keep the model in the work folder."""
    output = arguments.work_dir / suite.resolve().name
    shutil.rmtree(output, ignore_errors=True)
    return run(
        suite / "train_realfill.py",
        *("--pretrained_model_name_or_path", base, "--train_data_dir", arguments.scene),
        *("--output_dir", output, "--resolution", arguments.resolution, "--max_train_steps", steps),
        *("--train_batch_size", arguments.batch_size, "--pad_to_full_batch"),
        *("--checkpointing_steps", 10**6, "--validation_steps", 10**6),
        *("--num_validation_images", 1),  # the other one samples at its end, whatever is asked
        *(f"--{flag}" for flag in arguments.train_flags),
    )


def sample(suite: Path, flags: list[object], arguments: argparse.Namespace) -> dict[str, float]:
    """Sample 16 completions with what `train` left."""
    target = arguments.scene / "target"
    results = arguments.work_dir / f"{suite.resolve().name}-results"
    shutil.rmtree(results, ignore_errors=True)
    return run(
        *(suite / "infer.py", "--model_path", arguments.work_dir / suite.resolve().name),
        *("--validation_image", target / "target.png", "--validation_mask", target / "mask.png"),
        *("--output_dir", results, "--seed", 0, *flags),
    )


def main() -> None:
    """Run both in turn and print a Markdown table."""
    arguments = parse_arguments()
    other, ours = arguments.other_suite, Path()
    rows: dict[str, list[float]] = {}
    memory: dict[str, list[float]] = {}
    bases = {other: arguments.other_base or arguments.base, ours: arguments.base}
    few = [train(suite, base, FEW, arguments) for suite, base in bases.items()]
    full = [train(suite, base, arguments.steps, arguments) for suite, base in bases.items()]
    rows[f"training, {arguments.steps} steps"] = [run["seconds"] for run in full]
    memory["training"] = [run["gigabytes"] for run in full]
    rows["a training step"] = [
        (long["seconds"] - short["seconds"]) / (arguments.steps - FEW)
        for long, short in zip(full, few, strict=True)
    ]
    if not arguments.no_sampling:
        theirs = sample(other, [], arguments)
        same = sample(ours, ["--scheduler", "ddpm"], arguments)
        default = sample(ours, [], arguments)
        rows["16 completions, 200 steps of DDPM"] = [theirs["seconds"], same["seconds"]]
        rows["16 completions, each one's default"] = [theirs["seconds"], default["seconds"]]
        whole = (full[0]["seconds"] + theirs["seconds"], full[1]["seconds"] + default["seconds"])
        rows["the whole scene"] = list(whole)
        memory["sampling"] = [theirs["gigabytes"], default["gigabytes"]]
    print(f"\n| | {other.resolve().name} | this project | ratio |\n| --- | ---: | ---: | ---: |")
    for name, (one, two) in rows.items():
        print(f"| {name}, s | {one:.2f} | {two:.2f} | {one / two:.1f} |")
    for name, (one, two) in memory.items():
        print(f"| peak memory of {name}, GB | {one:.1f} | {two:.1f} | {one / two:.1f} |")
    write_json(
        arguments.work_dir / "results.json",
        {"versions": library_versions(), "seconds": rows, "gigabytes": memory},
    )


if __name__ == "__main__":
    main()
