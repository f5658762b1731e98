"""Scenes side by side with Ray: GPUs are counted, and a lost machine's scene goes on elsewhere."""

import json
import os
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest

import complete_scenes
from realfill.scenes.plan import Plan, SceneRecord
from realfill.scenes.progress import Outcome
from tests.conftest import ROOT, environment, write_scene
from tests.helpers import model_flags, same_weights

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.slow


def make_plan(output: Path, flags: list[str]) -> Plan:
    parser = complete_scenes.build_parser()
    arguments = parser.parse_args(["SCENE", "--output_dir", str(output), *flags])
    return complete_scenes.make_plan(arguments, parser)


def take_notes(folder: Path, plan: Plan, scene: Path) -> Outcome:
    """Write down when a scene ran and on which GPU."""
    started = time.time()
    time.sleep(1)
    note = {"gpu": os.environ["CUDA_VISIBLE_DEVICES"], "from": started, "to": time.time()}
    (folder / f"{scene.name}.json").write_text(json.dumps(note))
    return Outcome(scene, SceneRecord())


@pytest.fixture
def disconnect():
    yield
    ray.shutdown()


def test_each_scene_has_a_gpu_of_its_own(tmp_path: Path, disconnect) -> None:
    from realfill.scenes import cluster

    ray.init(address="local", num_cpus=4, num_gpus=2, include_dashboard=False)
    assert cluster.places() == 2
    assert cluster.needs() == {"num_gpus": 1, "num_cpus": 2}
    scenes = [Path(str(number)) for number in range(5)]
    plan = make_plan(tmp_path, [])
    outcomes = list(cluster.side_by_side(partial(take_notes, tmp_path), plan, scenes))
    assert {outcome.scene for outcome in outcomes} == set(scenes)
    notes = [json.loads(path.read_text()) for path in tmp_path.glob("*.json")]
    assert {note["gpu"] for note in notes} == {"0", "1"}
    for note in notes:
        moments = [each for each in notes if each["from"] <= note["from"] < each["to"]]
        assert len({each["gpu"] for each in moments}) == len(moments) <= 2


def die(folder: Path, plan: Plan, scene: Path) -> Outcome:
    """End the worker without grace: always, or the first time."""
    tries = folder / f"{scene.name}.tries"
    tries.write_text(tries.read_text() + "." if tries.exists() else ".")
    if scene.name == "hopeless" or len(tries.read_text()) == 1:
        os._exit(1)
    return Outcome(scene, SceneRecord())


def test_a_lost_worker_is_replaced_but_not_for_ever(tmp_path: Path, disconnect) -> None:
    from realfill.scenes import cluster

    ray.init(address="local", num_cpus=2, include_dashboard=False)
    scenes = [Path("unlucky"), Path("hopeless")]
    plan = make_plan(tmp_path, [])
    outcomes = cluster.side_by_side(partial(die, tmp_path), plan, scenes)
    faults = {outcome.scene.name: outcome.fault for outcome in outcomes}
    assert faults["unlucky"] == ""
    assert "lost" in faults["hopeless"]
    assert len((tmp_path / "hopeless.tries").read_text()) == cluster.RETRIES + 1


def test_the_script_completes_scenes_side_by_side(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_scene(tmp_path / "scenes" / name)
    (tmp_path / "scenes/bad/ref").mkdir(parents=True)
    command = [sys.executable, "complete_scenes.py", "--scenes", tmp_path / "scenes"]
    command += ["--output_dir", tmp_path / "out", "--infer_flags=--num_images 1 --seed 0"]
    run = subprocess.run(
        list(map(str, command)), cwd=ROOT, env=environment(), capture_output=True, text=True
    )
    assert run.returncode == 3, run.stderr[-3000:]
    assert "left out: bad: " in run.stderr
    for name in ("one", "two"):
        assert (tmp_path / "out" / name / "completions/best.png").exists()
        assert SceneRecord.read(tmp_path / "out" / name).fill == "exemplar"


def test_a_training_goes_on_when_its_machine_is_lost(
    tmp_path: Path, base_folder: Path, disconnect
) -> None:
    from ray.cluster_utils import Cluster

    scene = write_scene(tmp_path / "one")
    flags = model_flags(base_folder, steps=300)
    flags[2] += " --checkpointing_steps 20"
    flags[3] = flags[3].replace("--geometry off", "")
    command = [sys.executable, "complete_scenes.py", str(scene), *flags]
    undisturbed = subprocess.Popen(
        [*command, "--output_dir", str(tmp_path / "undisturbed")],
        cwd=ROOT,
        env=environment() | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
    )
    assert undisturbed.wait() == 0

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    first = cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address)
    outcomes: list[Outcome] = []
    output = tmp_path / "out"
    model = output / "one/model"

    def complete() -> None:
        plan = make_plan(output, flags)
        outcomes.extend(complete_scenes.realfill.complete_scenes(plan, [scene], cluster.address))

    driver = threading.Thread(target=complete)
    driver.start()
    while not (kept := sorted(model.glob("checkpoint-*"))):
        assert driver.is_alive(), outcomes
        time.sleep(0.01)
    before = {path: path.stat().st_mtime_ns for path in kept[0].rglob("*")}
    found = (output / "one/completions/cameras.json").stat().st_mtime_ns
    cluster.add_node(num_cpus=1)
    cluster.remove_node(first, allow_graceful=False)
    assert not (model / "pytorch_lora_weights.safetensors").exists(), "in the middle of it"
    driver.join()
    ray.shutdown()
    cluster.shutdown()
    assert [outcome.fault for outcome in outcomes] == [""]
    assert same_weights(model, tmp_path / "undisturbed/one/model")
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert (output / "one/completions/cameras.json").stat().st_mtime_ns == found
