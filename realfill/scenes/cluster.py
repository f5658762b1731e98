"""Scenes side by side, as tasks of Ray: it places them, counts the GPUs, and retries lost ones."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import ray  # pyright: ignore[reportMissingImports]
from ray.exceptions import RayError  # pyright: ignore[reportMissingImports]

from realfill.errors import UserError
from realfill.scenes.plan import Plan
from realfill.scenes.progress import Outcome

RETRIES = 5
"""Of a task whose worker or node is lost. What the program itself refuses is not tried again."""


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Use the cluster at `address`, or start one of this machine's cores and GPUs.

    Raises `UserError` if there is no cluster at `address`. If Ray is connected already, it stays
    so.
    """
    if ray.is_initialized():
        yield
        return
    try:
        own = {} if address else {"include_dashboard": False}  # nobody needs its open port
        ray.init(address=address or "local", logging_level="WARNING", **own)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UserError(f"--address {address}: no Ray cluster can be reached ({error})") from None
    try:
        yield
    finally:
        ray.shutdown()


def needs() -> dict[str, float]:
    """Return what Ray sets aside for a scene: a GPU and its share of the cores, or one core."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    shares = [node.get("CPU", 1) // node["GPU"] for node in nodes if node.get("GPU")]
    return {"num_gpus": 1, "num_cpus": max(1, min(shares))} if shares else {"num_cpus": 1}


def places() -> int:
    """Return how many scenes fit at once."""
    there = ray.cluster_resources()
    return max(1, int(there.get("GPU") or there.get("CPU", 1)))


def side_by_side(
    complete: Callable[[Plan, Path], Outcome], plan: Plan, scenes: list[Path]
) -> Iterator[Outcome]:
    """Call `complete` for each scene on the connected cluster; yield how each ended."""
    needed = needs()
    # Ray sets the threads as well, but not if the driver's environment says otherwise.
    threads = {"OMP_NUM_THREADS": str(int(needed["num_cpus"]))}
    options = {"max_retries": RETRIES, "runtime_env": {"env_vars": threads}}
    task = ray.remote(**options, **needed)(in_folder)
    tasks = {task.remote(complete, plan, scene, os.getcwd()): scene for scene in scenes}
    while tasks:
        [ended], _ = ray.wait(list(tasks))
        scene = tasks.pop(ended)
        try:
            yield ray.get(ended)
        except RayError as error:
            line = str(error).strip().splitlines()[0]
            yield Outcome(scene, fault=f"lost {RETRIES + 1} times: {line}")


def in_folder(
    complete: Callable[[Plan, Path], Outcome], plan: Plan, scene: Path, folder: str
) -> Outcome:
    """Call `complete` in the folder that the paths start from, unless Ray has set another."""
    if not ray.get_runtime_context().runtime_env.get("working_dir"):
        os.chdir(folder)
    return complete(plan, scene)
