"""Train and sample one scene with another implementation and with this one, in turn.

python -m scripts.bench_peers --other_suite OTHER --base data/tiny-inpainting --resolution 128

OTHER holds a train_realfill.py and an infer.py that take the flags of eric15342335/realfill; the
name of the base, the device and the size in its infer.py must have been set for this machine
beforehand. Both get the same flags. Training runs for a few steps and for more, without
validations, so that the time of a step is told apart from that of starting and saving. The whole
scene has the validations that each has by default. Sampling begins, start-up being over, where the
progress bar appears.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from realfill.files import write_json
from realfill.results import library_versions
from scripts.bench_scenes import LAUNCH
from scripts.scores import print_table

FEW, MORE = 40, 140
"""Steps of the two trainings that tell the time of a step; by the first, the pool is full."""
OURS = Path()
SAMPLING_BEGINS = re.compile(rb"sampling:|\b0/200\b")
"""The progress bars of this project and of the other."""


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
    """Run a script with accelerate; return its seconds and the most gigabytes it has held.

    "sampling" are the seconds since the first sign of sampling, 0 where there was none.
    """
    began = None
    started = time.monotonic()
    process = subprocess.Popen([*LAUNCH, *map(str, command)], stderr=subprocess.PIPE)
    while said := os.read(process.stderr.fileno(), 2**16):
        sys.stderr.buffer.write(said)
        if began is None and SAMPLING_BEGINS.search(said):
            began = time.monotonic()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{command[0]} failed")
    ended = time.monotonic()
    return {
        "seconds": ended - started,
        "sampling": ended - (began or ended),
        "gigabytes": usage.ru_maxrss / 2**20,
    }


def train(
    suite: Path, steps: int, validations: bool, arguments: argparse.Namespace
) -> dict[str, float]:
    """Train with the `suite`, anew, and keep the model in the work folder."""
    output = arguments.work_dir / suite.resolve().name
    shutil.rmtree(output, ignore_errors=True)
    base = arguments.base if suite == OURS else arguments.other_base or arguments.base
    # The other one samples at its end, whatever is asked.
    rare = () if validations else ("--validation_steps", 10**6, "--num_validation_images", 1)
    return run(
        suite / "train_realfill.py",
        *("--pretrained_model_name_or_path", base, "--train_data_dir", arguments.scene),
        *("--output_dir", output, "--resolution", arguments.resolution, "--max_train_steps", steps),
        *("--train_batch_size", arguments.batch_size, "--pad_to_full_batch"),
        *("--checkpointing_steps", 10**6, *rare),
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


def step_seconds(suite: Path, arguments: argparse.Namespace) -> float:
    """Return the seconds of a training step, from two trainings of different length."""
    few, more = (train(suite, steps, False, arguments)["seconds"] for steps in (FEW, MORE))
    return (more - few) / (MORE - FEW)


def main() -> None:
    """Run both in turn and print a Markdown table."""
    arguments = parse_arguments()
    suites = (arguments.other_suite, OURS)
    rows = {"a training step": [step_seconds(suite, arguments) for suite in suites]}
    trained = [train(suite, arguments.steps, True, arguments) for suite in suites]
    rows[f"training, {arguments.steps} steps with validations"] = seconds_of(trained)
    memory = {"training": [run["gigabytes"] for run in trained]}
    if not arguments.no_sampling:
        theirs = sample(arguments.other_suite, [], arguments)
        same = sample(OURS, ["--scheduler", "ddpm"], arguments)
        default = sample(OURS, [], arguments)
        for name, ours in (("200 steps of DDPM", same), ("each one's default", default)):
            rows[f"16 completions, {name}"] = seconds_of([theirs, ours])
            rows["... start-up apart, " + name] = [theirs["sampling"], ours["sampling"]]
        pairs = zip(trained, [theirs, default], strict=True)
        rows["the whole scene"] = [sum(seconds_of(pair)) for pair in pairs]
        memory["sampling"] = [theirs["gigabytes"], default["gigabytes"]]
    table = [[f"{name}, s", one, two, one / two] for name, (one, two) in rows.items()]
    for name, (one, two) in memory.items():
        table.append([f"peak memory of {name}, GB", one, two, one / two])
    print_table(["", arguments.other_suite.resolve().name, "this project", "ratio"], table)
    write_json(
        arguments.work_dir / "results.json",
        {"versions": library_versions(), "seconds": rows, "gigabytes": memory},
    )


def seconds_of(runs: Iterable[dict[str, float]]) -> list[float]:
    """Return the seconds of each of `runs`, start-up included."""
    return [run["seconds"] for run in runs]


if __name__ == "__main__":
    main()
