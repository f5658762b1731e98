"""What the scripts print and take as flags: no character, pipe or number ends a run badly."""

import subprocess
import sys

import pytest

from benchmark.report.files import as_table, report_paths
from realfill.command_line import hide_secrets, make_parser, printable, real, whole
from tests.conftest import ROOT, RunScript, environment

PRINT = "from realfill.command_line import run\nrun(lambda: [print('caf\\u2014\\udce9')] * 9999)"
LOUD = """
from realfill.command_line import run
def main():
    for _ in range(100_000):
        print("a line", flush=True)
    open(sys.argv[1], "w").write("written")
import sys
run(main)
"""


def test_a_terminal_without_the_characters_ends_no_run() -> None:
    variables = environment() | {"PYTHONIOENCODING": "cp1252"}
    result = subprocess.run(
        [sys.executable, "-c", PRINT], cwd=ROOT, env=variables, capture_output=True
    )
    assert result.returncode == 0, result.stderr
    assert b"\\udce9" in result.stdout


def test_a_reader_that_goes_away_ends_no_run(tmp_path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", LOUD, str(tmp_path / "file")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=60) == 0, process.stderr.read()
    process.stderr.close()
    assert (tmp_path / "file").read_text() == "written"


def test_control_characters_become_escapes() -> None:
    assert printable("a\x1b[2J\x9b\u202eb\nc é") == "a\\x1b[2J\\x9b\\u202eb\nc é"


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx"])
def test_names_are_no_formulas(name: str) -> None:
    images = {"0.png": {"psnr": -1.5}}
    folder = {"set": name, "scene": name, "folder": name, "name": name, "images": images}
    row = as_table({"folders": [folder]}).splitlines()[1]
    assert row.startswith("'") or row.startswith("\"'")
    assert row.endswith(",0.png,psnr,-1.5")


def test_reports_of_two_versions_have_files_of_their_own(tmp_path) -> None:
    first, second = (set(report_paths(tmp_path / name)) for name in ("run.v1", "run.v2"))
    assert not first & second


BAD_FLAGS = [
    *(("train_realfill.py", name, value) for name in ("unet_learning_rate", "adam_epsilon")
      for value in ("nan", "inf", "-1")),
    ("train_realfill.py", "max_grad_norm", "-1"),
    ("train_realfill.py", "adam_beta1", "1"),
    ("train_realfill.py", "lora_dropout", "1.5"),
    ("train_realfill.py", "resolution", "0"),
    ("train_realfill.py", "seed", str(2**64)),
    ("train_realfill.py", "max_memory_gb", "inf"),
    ("infer.py", "num_images", "0"),
    ("infer.py", "batch_size", "0"),
    ("infer.py", "resolution", "0"),
    ("infer.py", "seed", str(2**64)),
    ("infer.py", "num_inference_steps", "1001"),
    ("infer.py", "guidance_scale", "nan"),
    ("loftr_ranking.py", "target_count", "0"),
    ("loftr_ranking.py", "conf_threshold", "nan"),
    ("refill.py", "target_count", "-3"),
    ("benchmarks.py", "num_images", "0"),
]  # fmt: skip


@pytest.mark.parametrize(("script", "flag", "value"), BAD_FLAGS)
def test_numbers_are_checked_at_the_parser(
    script: str, flag: str, value: str, refuse: RunScript
) -> None:
    assert f"--{flag}" in refuse(script, f"--{flag}={value}").replace("-", "_").replace("__", "--")


def test_numbers_within_their_limits_pass() -> None:
    parser = make_parser("")
    parser.add_argument("--whole", type=whole(1, 5))
    parser.add_argument("--real", type=real(0, below=1))
    arguments = parser.parse_args(["--whole", "5", "--real", "0"])
    assert (arguments.whole, arguments.real) == (5, 0.0)


def test_tokens_do_not_stay_among_the_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["x", "--hub_token", "hf_secret", "--wandb_key=secret", "--y"])
    hide_secrets("hub_token", "wandb_key")
    assert sys.argv == ["x", "--hub_token", "***", "--wandb_key=***", "--y"]
