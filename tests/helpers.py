"""What several test modules write, run and compare."""

import io
import json
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

import benchmarks
from tests.conftest import draw_photo

LORA = "pytorch_lora_weights.safetensors"
SIDE = 96

QUICK = "--num_images 2 --seed 0"
IMPORTED = "import sys, runpy\ntry: runpy.run_path(sys.argv.pop(1), run_name='__main__')\n"
IMPORTED += "finally: print(*sys.modules, file=sys.stderr)"


def corrupt(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def remove_folder(path: Path) -> None:
    for file in path.iterdir():
        file.unlink()
    path.rmdir()


BAD_SCENES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no ref": (lambda scene: remove_folder(scene / "ref"), r"ref: no such folder"),
    "empty ref": (
        lambda scene: [path.unlink() for path in (scene / "ref").iterdir()],
        r"ref: no photos",
    ),
    "no target": (lambda scene: (scene / "target/target.png").unlink(), r"target\.png: no such"),
    "no mask": (lambda scene: (scene / "target/mask.png").unlink(), r"mask\.png: no such"),
    "two targets": (
        lambda scene: draw_photo(0).save(scene / "target/target.jpg"),
        r"target\.jpg and target\.png are both there",
    ),
    "mask of another size": (
        lambda scene: Image.new("L", (90, 120), 255).save(scene / "target/mask.png"),
        r"mask\.png: the mask is 90 x 120, target\.png is 120 x 90",
    ),
    "black mask": (
        lambda scene: Image.new("L", (120, 90), 0).save(scene / "target/mask.png"),
        r"mask\.png: the mask is all black",
    ),
    "white mask": (
        lambda scene: Image.new("L", (120, 90), 255).save(scene / "target/mask.png"),
        r"mask\.png: the mask is all white",
    ),
    "truncated target": (lambda scene: corrupt(scene / "target/target.png"), r"target\.png: damag"),
    "truncated reference": (lambda scene: corrupt(scene / "ref/1.png"), r"1\.png: damaged"),
    "text as image": (
        lambda scene: (scene / "ref/1.png").write_text("no image"),
        r"1\.png: damaged or not an image",
    ),
    "too small": (
        lambda scene: draw_photo(0, 63, 200).save(scene / "ref/1.png"),
        r"1\.png: 63 x 200 is too small",
    ),
}


def draw_texture(seed: int) -> np.ndarray:
    """Draw a texture rich in corners, `(900, 1200, 3)` in [0, 1]."""
    random = np.random.default_rng(seed)
    texture = np.zeros((900, 1200, 3))
    for octave in (8, 16, 32, 64):
        noise = random.uniform(size=(900 // octave + 1, 1200 // octave + 1, 3))
        texture += cv2.resize(noise, (1200, 900), interpolation=cv2.INTER_CUBIC) / 4
    for _ in range(250):
        x, y, side = random.integers(0, 1200), random.integers(0, 900), random.integers(8, 50)
        texture[y : y + side, x : x + side] = random.uniform(0.1, 0.9, 3)
    return cv2.GaussianBlur(texture, (0, 0), 1.5).clip(0.05, 0.95)


def write_flat_scene(folder: Path) -> Path:
    """Write photos of a flat picture, from different angles: geometry knows all of it."""
    picture = (255 * draw_texture(3)).astype(np.uint8)
    corners = np.float32([(300, 200), (620, 200), (620, 440), (300, 440)])
    size = (320, 240)
    for name, turn in {"target/gt": 0, "ref/0": 40, "ref/1": -30}.items():
        path = folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        seen = corners + np.float32([(-turn, 10), (turn, turn), (10, -turn), (-10, turn)])
        ends = np.float32([(0, 0), (size[0], 0), size, (0, size[1])])
        warp = cv2.getPerspectiveTransform(seen, ends)
        Image.fromarray(cv2.warpPerspective(picture, warp, size)).save(path)
    mask = Image.new("L", size, 0)
    mask.paste(255, (130, 90, 190, 150))
    mask.save(folder / "target/mask.png")
    truth = Image.open(folder / "target/gt.png")
    Image.composite(Image.new("RGB", size), truth, mask).save(folder / "target/target.png")
    return folder


def infer_flags(model: Path, scene: Path, output: Path, *more: object) -> list[str]:
    """Return the flags of a run in fp32 with 4 images of 3 steps."""
    common = ("--scene", scene, "--output_dir", output, "--mixed_precision", "no", "--seed", 5)
    counts = ("--num_images", 4, "--num_inference_steps", 3)
    return [str(flag) for flag in ("--model_path", model, *common, *counts, *more)]


def same_weights(first: Path, second: Path) -> bool:
    """Say whether two LoRA files hold the same numbers, bit for bit."""
    one, other = load_file(first / LORA), load_file(second / LORA)
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def write_completions(folder: Path, scene: Path, count: int = 3) -> Path:
    """Write completions of a scene of conftest's `write_scene`."""
    folder.mkdir()
    target, mask = Image.open(scene / "target/gt.png"), Image.open(scene / "target/mask.png")
    for index in range(count):
        Image.composite(draw_photo(10 + index), target, mask).save(folder / f"{index}.png")
    return folder


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def write_truth(scene: Path, seed: int) -> None:
    """Write a scene folder: a truth, a mask, a reference."""
    for name in ("ref", "target"):
        (scene / name).mkdir(parents=True)
    truth = draw_photo(seed, SIDE, SIDE)
    truth.save(scene / "target" / "gt.png")
    truth.save(scene / "ref" / "0.png")
    mask = Image.new("L", truth.size, 0)
    mask.paste(255, (20, 20, 70, 60))
    mask.save(scene / "target" / "mask.png")


def write_completion(path: Path, truth: Path, amount: float) -> None:
    """Write the truth with noise of a standard deviation of `amount`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.asarray(Image.open(truth)).astype(float)
    random = np.random.default_rng(int(1000 * amount))
    noisy = pixels + random.normal(0, amount, pixels.shape)
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path)


def write_folder(folder: Path, scene: Path, amount: float, images: int = 3) -> None:
    """Write completions of a scene: the first is best."""
    for index in range(images):
        write_completion(folder / f"{index}.png", scene / "target/gt.png", amount * (1 + index / 4))


def command(results: Path, *flags: object, name: str = "report") -> list[str]:
    """Return the command that scores `results`, with psnr and ssim and without ranking."""
    base = results.parent
    parts = [sys.executable, "benchmarks.py", "--results_base_dir", results]
    parts += ["--cache_dir", base / "cache", "--output_file", base / f"{name}.txt"]
    parts += ["--num_images", 3]
    if "--realbench_dataset_dir" not in flags:
        parts += ["--scenes", base / "scenes"]
    if "--metrics" not in flags:
        parts += ["--metrics", "psnr", "ssim"]
    if "--loftr_script_path" not in flags:
        parts += ["--loftr_script_path", "none"]
    return [str(part) for part in (*parts, *flags)]


def score(results: Path, *flags: object, name: str = "report", code: int = 0) -> dict:
    """Score in this process; check the exit code, and return the JSON report and what was said."""
    said, found = io.StringIO(), 0
    with redirect_stdout(said), redirect_stderr(said):
        try:
            benchmarks.main(command(results, *flags, name=name)[2:])
        except SystemExit as stopped:
            found = stopped.code
    printed = said.getvalue()
    assert found == code, printed
    report = json.loads((results.parent / f"{name}.json").read_text())
    measured = map(int, re.findall(r"(\d+) numbers measured", printed))
    return report | {"measured": sum(measured), "printed": printed}


def write_realbench(folder: Path) -> Path:
    """Write a results directory as for RealBench and a custom dataset, beside `data`."""
    variants = {"": 30, "-fp32": 25, "-gen": 28}
    for dataset, numbers in (("RealBench", (0, 2, 10)), ("Custom", (1,))):
        for number in numbers:
            scene = folder / "data" / dataset / str(number)
            write_truth(scene, number)
            for variant, amount in variants.items():
                results = folder / "results" / f"{dataset}-{number}-results{variant}"
                write_folder(results, scene, amount)
    return folder / "results"


def dataset_flags(results: Path) -> list[object]:
    data = results.parent / "data"
    return ["--realbench_dataset_dir", data, "--custom_dataset_dir", data]


def write_ranking(folder: Path, order: Sequence[int]) -> None:
    ranking = [
        {"rank": place + 1, "score": 9 - place, "filename": f"{index}.png"}
        for place, index in enumerate(order)
    ]
    (folder / "loftr_ranking_scores.json").write_text(json.dumps({"ranking": ranking}))


def model_flags(base: Path, steps: int = 4) -> list[str]:
    """Return the flags of a training run of a few steps, and of two samples."""
    train = f"--pretrained_model_name_or_path '{base}' --max_train_steps {steps} --seed 1"
    train += " --train_batch_size 2 --num_validation_images 0 --report_to none"
    train += " --mixed_precision no"
    infer = f"{QUICK} --geometry off --num_inference_steps 2 --rank sift"
    return ["--fill", "model", f"--train_flags={train}", f"--infer_flags={infer}"]
