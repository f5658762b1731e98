"""`--help` answers at once: what takes seconds to import is left for later."""

import subprocess
import sys

import pytest

from realfill.settings import SCHEDULES
from tests.conftest import ROOT, environment
from tests.helpers import IMPORTED

COMMANDS = ["train_realfill.py", "infer.py", "refill.py", "make_scenes.py", "complete_scenes.py"]
COMMANDS += ["train_task_tokens.py", "reposition.py", "new_view.py", "app.py"]
COMMANDS += ["realfill/__main__.py train", "realfill/__main__.py complete"]
COMMANDS += ["train_decoder.py", "train_prior.py"]


@pytest.mark.parametrize("words", COMMANDS)
def test_help_imports_neither_torch_nor_diffusers(words: str) -> None:
    command = [sys.executable, "-c", IMPORTED, *words.split(), "--help"]
    asked = subprocess.run(
        command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=True
    )
    assert "--" in asked.stdout
    assert "argparse" in asked.stderr.split()
    assert not {"torch", "diffusers", "transformers", "accelerate"} & set(asked.stderr.split())


def test_the_command_names_itself_and_passes_on_the_exit_code() -> None:
    for words, speaker in (([], "realfill"), (["rank"], "realfill rank")):
        command = [sys.executable, "-m", "realfill", *words]
        asked = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True)
        assert asked.returncode == 2
        assert asked.stderr.startswith(f"{speaker}: "), asked.stderr


def test_the_schedules_are_those_of_diffusers() -> None:
    from diffusers.optimization import SchedulerType

    assert set(SCHEDULES) == {kind.value for kind in SchedulerType} - {"piecewise_constant"}
