"""Train and sample one scene with another implementation and with this one, in turn.

python -m scripts.bench_peers --other_suite OTHER --base data/tiny-inpainting --resolution 128

OTHER holds a train_realfill.py and an infer.py that take the flags of eric15342335/realfill; the
name of the base, the device and the size in its infer.py must have been set for this machine
beforehand. Both get the same flags, and training has the validations that each has by default. Both
show progress bars: these tell when sampling begins, start-up being over, and what a training step
takes before the first validation.
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

from realfill.record import library_versions
from realfill.storage import write_json
from scripts.bench_scenes import LAUNCH
from scripts.scores import print_table

FIRST, LAST = 40, 99
"""The steps between which one is timed: by the first the pool is full, the 100th is validated."""
OURS = Path()
SAMPLING_BEGINS = r"sampling:|\b0/200\b"
"""The progress bars of this project and of the other."""


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--other_suite", type=Path, required=True, help="folder of the other implementation")
    add("--base", type=Path, required=True, help="base for this project, and for the other")
    add("--other_base", type=Path, help="the other's, if it needs another precision on disk")
    add("--scene", type=Path, default=Path("data/yard"), help="(default: %(default)s)")
    add("--resolution", type=int, default=512, help="(default: %(default)s)")
    add("--batch_size", type=int, default=8, help="(default: %(default)s)")
    add("--steps", type=int, default=300, help="training steps, over 100 (default: %(default)s)")
    add("--train_flags", nargs="*", default=[], help="more flags for both, without the dashes")
    add("--no_sampling", action="store_true", help="only train")
    add("--work_dir", type=Path, default=Path("work/bench-peers"), help="(default: %(default)s)")
    return parser.parse_args()


def run(*command: object, moments: dict[str, str]) -> dict[str, float]:
    """Run a script with accelerate; return its seconds and the most gigabytes it has held.

    `moments` are expressions by name: the seconds until the script shows each are returned, too.
    """
    seen: dict[str, float] = {}
    started = time.monotonic()
    process = subprocess.Popen([*LAUNCH, *map(str, command)], stderr=subprocess.PIPE)
    assert process.stderr is not None  # it is a pipe
    while said := os.read(process.stderr.fileno(), 2**16):
        sys.stderr.buffer.write(said)
        for name, expression in moments.items():
            if name not in seen and re.search(expression.encode(), said):
                seen[name] = time.monotonic() - started
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{command[0]} failed")
    if missing := moments.keys() - seen:
        raise SystemExit(f"{command[0]} has shown no {', '.join(missing)}")
    seconds = time.monotonic() - started
    return seen | {"seconds": seconds, "gigabytes": usage.ru_maxrss / 2**20}


def train(suite: Path, arguments: argparse.Namespace) -> dict[str, float]:
    """Train with the `suite`, anew, and keep the model in the work folder; add a step's seconds."""
    output = arguments.work_dir / suite.resolve().name
    shutil.rmtree(output, ignore_errors=True)
    base = arguments.base if suite == OURS else arguments.other_base or arguments.base
    steps = arguments.steps
    seen = run(
        suite / "train_realfill.py",
        *("--pretrained_model_name_or_path", base, "--train_data_dir", arguments.scene),
        *("--output_dir", output, "--resolution", arguments.resolution, "--max_train_steps", steps),
        *("--train_batch_size", arguments.batch_size, "--pad_to_full_batch"),
        *("--checkpointing_steps", 10**6),
        *(f"--{flag}" for flag in arguments.train_flags),
        moments={"first": rf"\b{FIRST}/{steps}\b", "last": rf"\b{LAST}/{steps}\b"},
    )
    return seen | {"step": (seen["last"] - seen["first"]) / (LAST - FIRST)}


def sample(suite: Path, flags: list[object], arguments: argparse.Namespace) -> dict[str, float]:
    """Sample 16 completions with what `train` left."""
    target = arguments.scene / "target"
    results = arguments.work_dir / f"{suite.resolve().name}-results"
    shutil.rmtree(results, ignore_errors=True)
    return run(
        *(suite / "infer.py", "--model_path", arguments.work_dir / suite.resolve().name),
        *("--validation_image", target / "target.png", "--validation_mask", target / "mask.png"),
        *("--output_dir", results, "--seed", 0, *flags),
        moments={"begun": SAMPLING_BEGINS},
    )


def main() -> None:
    """Run both in turn and print a Markdown table."""
    arguments = parse_arguments()
    suites = (arguments.other_suite, OURS)
    trained = [train(suite, arguments) for suite in suites]
    rows = {
        "a training step": [each["step"] for each in trained],
        f"training, {arguments.steps} steps with validations": seconds_of(trained),
    }
    memory = {"training": [each["gigabytes"] for each in trained]}
    if not arguments.no_sampling:
        theirs = sample(arguments.other_suite, [], arguments)
        same = sample(OURS, ["--scheduler", "ddpm"], arguments)
        default = sample(OURS, [], arguments)
        for name, ours in (("200 steps of DDPM", same), ("each one's default", default)):
            rows[f"16 completions, {name}"] = seconds_of([theirs, ours])
            rows["... start-up apart, " + name] = [
                each["seconds"] - each["begun"] for each in (theirs, ours)
            ]
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
    return [each["seconds"] for each in runs]


if __name__ == "__main__":
    main()
