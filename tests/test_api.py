"""The package's public names."""

import subprocess
import sys
from pathlib import Path

import realfill
from realfill.images.read import read_photo
from tests.conftest import ROOT, environment


def test_importing_it_waits_for_no_library() -> None:
    code = "import sys, realfill; realfill.load_scene; print('torch' in sys.modules)"
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert run.stdout.strip() == "False", run.stderr


def test_each_name_is_there() -> None:
    assert all(callable(getattr(realfill, name)) for name in realfill.__all__)
    assert not hasattr(realfill, "no such name")


def test_a_scene_is_completed_and_ranked(scene_folder: Path, tmp_path: Path) -> None:
    scene = realfill.load_scene(scene_folder)
    job = realfill.Job(scene, tmp_path / "out", num_images=2, seed=1, geometry="off")
    realfill.complete_scene(job)
    completions = realfill.find_completions(tmp_path / "out")
    assert [path.name for path in completions] == ["0.png", "1.png"]
    ranked = realfill.rank_folder(
        completions,
        scene.references,
        scene.mask,
        realfill.choose_matcher("sift"),
        reference_folder=scene_folder / "ref",
    )
    assert sorted(ranked) == completions
    assert read_photo(ranked[0]).size == scene.target.size
