"""What Ray costs beside the work: short scenes in a plain loop, then as its tasks, in one run.

OMP_NUM_THREADS=1 python -m scripts.bench_cluster [SCENES]

Both have one core and one thread: Ray has a cluster of one core, so that it completes one scene
after another, too. Both are timed after a first round has loaded the libraries.
"""

import shutil
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import ray  # pyright: ignore[reportMissingImports]

import complete_scenes
from realfill.scenes import cluster
from realfill.scenes.plan import Plan
from realfill.scenes.progress import Outcome
from realfill.scenes.run import complete_or_explain

ROOT = Path(__file__).parent.parent
FLAGS = [
    *("--fill", "model", "--skip_training_if_known", "2"),
    "--train_flags=@data/demo.args --max_train_steps 1 --report_to none",
    "--infer_flags=--num_images 1 --num_inference_steps 1 --geometry off --rank sift --seed 0",
]


def make_plan(output: Path) -> Plan:
    """Return a plan of one training step and one sample."""
    parser = complete_scenes.build_parser()
    return complete_scenes.make_plan(
        parser.parse_args(["--output_dir", str(output), *FLAGS]), parser
    )


def copy_scenes(folder: Path, count: int) -> list[Path]:
    """Return copies of a scene."""
    scenes = [folder / f"scene-{number}" for number in range(count)]
    for scene in scenes:
        shutil.copytree(ROOT / "data" / "yard", scene)
    return scenes


def seconds_of(outcomes: Iterable[Outcome]) -> float:
    """Return how long it takes to complete the scenes."""
    started = time.perf_counter()
    with redirect_stdout(StringIO()):
        faults = [outcome.fault for outcome in outcomes if outcome.fault]
    assert not faults, faults
    return time.perf_counter() - started


def main(count: int) -> None:
    """Print the seconds of both ways and their ratio."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scenes = copy_scenes(folder / "scenes", count)

        def in_a_loop(output: str, part: list[Path]) -> Iterable[Outcome]:
            return (complete_or_explain(make_plan(folder / output), scene) for scene in part)

        seconds_of(in_a_loop("first", scenes[:1]))
        loop = seconds_of(in_a_loop("loop", scenes))
        ray.init("local", num_cpus=1, include_dashboard=False, logging_level="WARNING")

        def with_ray(output: str, part: list[Path]) -> Iterable[Outcome]:
            return cluster.side_by_side(complete_or_explain, make_plan(folder / output), part)

        seconds_of(with_ray("warm", scenes[:2]))
        rays = seconds_of(with_ray("ray", scenes))
    print(f"{count} scenes: loop {loop:.1f} s, Ray {rays:.1f} s, ratio {rays / loop:.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
