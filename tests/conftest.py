"""Fixtures: a scene, a small base model, and ways to run the scripts."""

import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from tests.bases import make_base

if TYPE_CHECKING:
    from selenium import webdriver

ROOT = Path(__file__).parent.parent
LAUNCH = ("accelerate", "launch", "--num_processes=1", "--num_machines=1", "--mixed_precision=no")
RunScript = Callable[..., str]
"""Runs a script with the arguments given; returns what it printed."""


def draw_photo(seed: int, width: int = 120, height: int = 90) -> Image.Image:
    """Draw a photo with smooth colours and some texture."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    noise = random.normal(0, 8, smooth.shape)
    return Image.fromarray((smooth + noise).clip(0, 255).astype(np.uint8))


def write_scene(folder: Path) -> Path:
    """Write a scene of two references, a target with a box to fill, and the truth."""
    (folder / "ref").mkdir(parents=True)
    (folder / "target").mkdir()
    for index in range(2):
        draw_photo(index).save(folder / "ref" / f"{index}.png")
    truth = draw_photo(2)
    mask = Image.new("L", truth.size, 0)
    mask.paste(255, (40, 30, 80, 70))
    truth.save(folder / "target" / "gt.png")
    mask.save(folder / "target" / "mask.png")
    Image.composite(Image.new("RGB", truth.size), truth, mask).save(folder / "target/target.png")
    return folder


@pytest.fixture
def scene_folder(tmp_path: Path) -> Path:
    """Return a scene folder that the test may change."""
    return write_scene(tmp_path / "scene")


@pytest.fixture(scope="session")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small epsilon-predicting base with random weights."""
    return make_base(tmp_path_factory.mktemp("epsilon"))


def environment() -> dict[str, str]:
    """Return the environment of a user whose tools are those of this Python."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return os.environ | {"PATH": path, "HF_HUB_OFFLINE": "1"}


def launch(*arguments: object, timeout: float = 300) -> str:
    """Run `accelerate launch ARGUMENTS` in the project's folder and return what it printed."""
    return run_script([*LAUNCH, *map(str, arguments)], environment(), timeout)


def launch_two(*arguments: object, timeout: float = 300) -> str:
    """Run a script in two processes of one thread each and return what they printed."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    # Without the last, a process on a machine with one GPU looks for the second.
    alone = {"ACCELERATE_USE_CPU": "1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return run_script([*command, *map(str, arguments)], environment() | alone, timeout)


def run_script(command: list[str], variables: dict[str, str], timeout: float) -> str:
    """Run `command` in the project's folder and return what it printed."""
    result = subprocess.run(
        command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=timeout
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout + result.stderr


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> RunScript:
    """Return a function that runs a script in this process and returns what it printed.

    The libraries are imported already, which saves each run several seconds.
    """

    def run_here(script: str, *arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        monkeypatch.chdir(ROOT)
        runpy.run_path(str(ROOT / script), run_name="__main__")
        return "".join(capsys.readouterr())

    return run_here


@pytest.fixture
def refuse(start: RunScript, capsys: pytest.CaptureFixture[str]) -> RunScript:
    """Return a function that runs a script, expects exit code 2, and returns its one line."""

    def expect_refusal(script: str, *arguments: object) -> str:
        with pytest.raises(SystemExit) as stopped:
            start(script, *arguments)
        complaint = capsys.readouterr().err.strip()
        assert stopped.value.code == 2, complaint
        last = complaint.splitlines()[-1]
        assert last.startswith(f"{script}: "), complaint
        assert "Traceback" not in complaint
        return last

    return expect_refusal


def train_flags(scene: Path, base: Path, output: Path, steps: int = 4) -> list[object]:
    """Return the flags of a short training in fp32, without logs and validation."""
    return [
        "train_realfill.py",
        *("--pretrained_model_name_or_path", base),
        *("--train_data_dir", scene),
        *("--output_dir", output),
        *("--max_train_steps", steps),
        *("--train_batch_size", 2),
        *("--num_validation_images", 0),
        *("--report_to", "none"),
        *("--mixed_precision", "no"),
        *("--seed", 1),
    ]


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, base_folder: Path) -> tuple[Path, Path]:
    """Return a scene folder and the output of a short training on it, made by the script."""
    folder = tmp_path_factory.mktemp("trained")
    scene = write_scene(folder / "scene")
    flags = train_flags(scene, base_folder, folder / "output")
    launch(*flags, "--save_merged", "--checkpointing_steps", 2, "--unet_learning_rate", 0.05)
    return scene, folder / "output"


@pytest.fixture(scope="session")
def rendered() -> tuple:
    """Return a scene, its true cameras, the truth, and the target's depth."""
    from tests.rendered import render_scene  # which needs this file

    return render_scene()


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of photos, `photos`; its neighbour `objects` has their label maps."""
    folder = tmp_path_factory.mktemp("data")
    for name in ("photos", "objects"):
        (folder / name).mkdir()
    for index in range(3):
        draw_photo(index).save(folder / "photos" / f"{index}.png")
        labels = np.zeros((90, 120), np.uint8)
        labels[30:60, 40:80] = 1 + index
        Image.fromarray(labels).save(folder / "objects" / f"{index}.png")
    return folder / "photos"


@pytest.fixture
def browser() -> "Iterator[webdriver.Chrome]":
    """Start Chromium without a window; it needs `apt-get install chromium chromium-driver`."""
    from selenium import webdriver  # not where no test has a use for it

    options = webdriver.ChromeOptions()
    for flag in ("--headless=new", "--no-sandbox", "--hide-scrollbars", "--use-angle=swiftshader"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = shutil.which("chromedriver")
    assert driver, "chromedriver is not on the PATH: apt-get install chromium chromium-driver"
    with webdriver.Chrome(options, webdriver.ChromeService(driver)) as chrome:
        yield chrome
