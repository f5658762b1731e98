"""Measure where the time of a scene goes: the plain recipe and this project's.

python -m scripts.bench_speed --base data/tiny-inpainting --batch_size 8
python -m scripts.bench_speed --batch_size 2 --repeats 2

Without --base the architecture of Stable Diffusion 2 inpainting is built with random weights. The
plain recipe is that of the first implementations: fp32, all photos read anew and both encodes for
every step, a prompt encoded for each sample, torch's attention, completions one by one with 200
steps. A whole scene is the paper's 2,000 training steps and 16 completions, computed from these
parts. Each recipe runs in a process of its own, for its memory's sake.
"""

import argparse
import gc
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import torch
from accelerate import Accelerator
from diffusers import StableDiffusionInpaintPipeline
from diffusers.models.attention_processor import AttnProcessor2_0
from torch import Tensor

from realfill.devices import DTYPES, choose_precision, start_process
from realfill.images.blend import resize, size_in_multiples
from realfill.model.base import load_base, native_resolution
from realfill.record import library_versions
from realfill.sampling.sampler import default_batch_size
from realfill.scene import load_scene
from realfill.settings import DEFAULT_STEPS, TrainingFlags, TrainingSettings
from realfill.storage import write_json
from realfill.training.build import tokenize
from realfill.training.crops import draw_batch, upload_photos
from realfill.training.latent_pool import encode
from realfill.training.trainer import Trainer
from scripts.sd2_architecture import build_sd2
from scripts.speed_report import PARTS, draw_bars, print_tables

COMPLETIONS = 16


@dataclass(frozen=True)
class Recipe:
    """One way to train and sample."""

    name: str
    plain: bool
    solver_steps: int
    latent_reuse: int


RECIPES = (
    Recipe("plain", True, DEFAULT_STEPS["ddpm"], 1),
    Recipe("this project", False, DEFAULT_STEPS["dpm"], TrainingSettings.latent_reuse),
)


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--base", type=Path, help="base folder (default: SD-2's architecture, random weights)")
    add("--scene", type=Path, default=Path("data/yard"), help="(default: %(default)s)")
    add("--batch_size", type=int, default=8, help="samples a step (default: %(default)s)")
    add("--repeats", type=int, default=10, help="median of so many (default: %(default)s)")
    add("--gradient_checkpointing", action="store_true", help="in both recipes")
    add("--output", type=Path, default=Path("work/bench-speed"), help=".json and .png are added")
    return parser.parse_args()


def load(base: Path | None, dtype: torch.dtype) -> StableDiffusionInpaintPipeline:
    """Load the base, or build the real architecture."""
    if base:
        return load_base(str(base), dtype)
    with tempfile.TemporaryDirectory() as folder:
        pipeline = build_sd2(Path(folder), dtype)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def clock(function: Callable[[], object], repeats: int, warm_up: int = 1) -> float:
    """Return the median of the seconds that `function` takes, the device's work included."""
    seconds = []
    for _ in range(warm_up + repeats):
        started = time.perf_counter()
        function()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[warm_up:])


def peak_gigabytes(device: torch.device) -> float:
    """Return the most memory held so far: the GPU's, or else the process's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def measure(recipe: Recipe, arguments: argparse.Namespace) -> dict[str, object]:
    """Return the seconds of each part, per training step and per solver step, and the memory."""
    state = start_process()
    precision = "no" if recipe.plain else choose_precision(state.device, None)
    started = time.perf_counter()
    pipeline = load(arguments.base, DTYPES[precision]).to(state.device)
    loading = time.perf_counter() - started
    sampling = measure_sampling(recipe, arguments, pipeline)
    memory = {"sampling": peak_gigabytes(state.device)}
    gc.collect()
    parts = measure_training(recipe, arguments, pipeline, precision)
    memory["training and sampling"] = peak_gigabytes(state.device)
    step = sum(parts.values())
    scene = {
        "loading, twice": 2 * loading,
        "training": TrainingSettings.max_train_steps * step,
        "sampling": COMPLETIONS * sampling["one completion"],
    }
    return {
        "recipe": asdict(recipe),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "threads": torch.get_num_threads(),
        "precision": precision,
        "resolution": native_resolution(pipeline),
        "training step": parts | {"sum": step},
        "sampling": sampling,
        "whole scene": scene | {"sum": sum(scene.values())},
        "peak memory in GB": memory,
    }


def measure_training(
    recipe: Recipe,
    arguments: argparse.Namespace,
    pipeline: StableDiffusionInpaintPipeline,
    precision: str,
) -> dict[str, float]:
    """Return the seconds of a training step by part; what serves several steps is shared out."""
    settings = TrainingSettings(
        seed=0,
        resolution=native_resolution(pipeline),
        mixed_precision=precision,
        train_batch_size=arguments.batch_size,
    )
    flags = TrainingFlags(
        train_data_dir=arguments.scene, gradient_checkpointing=arguments.gradient_checkpointing
    )
    accelerator = Accelerator(cpu=pipeline.device.type == "cpu", mixed_precision=precision)
    scene = load_scene(arguments.scene)
    trainer = Trainer.build(accelerator, pipeline, scene, settings, flags)
    photos = upload_photos(scene, settings.resolution, accelerator.device)
    vae = pipeline.vae
    if recipe.plain:
        pipeline.unet.set_attn_processor(AttnProcessor2_0())
        trainer.tokens = trainer.tokens[:1].expand(arguments.batch_size, -1)

    def read_photos() -> object:
        return upload_photos(load_scene(arguments.scene), settings.resolution, accelerator.device)

    generator = torch.Generator().manual_seed(0)
    batch = draw_batch(photos, arguments.batch_size, settings.resolution, generator)

    def time_of(function: Callable[[], object]) -> float:
        return clock(function, arguments.repeats)

    parts: dict[str, float] = dict.fromkeys(PARTS, 0.0)
    if recipe.plain:
        parts["photos"] = time_of(read_photos)
    drawing = (photos, arguments.batch_size, settings.resolution, generator)
    parts["draws"] = time_of(lambda: draw_batch(*drawing)) / recipe.latent_reuse
    parts["autoencoder"] = time_of(lambda: encode(vae, batch)) / recipe.latent_reuse
    draws = encode(vae, batch)

    def forward() -> Tensor:
        with accelerator.autocast():
            return trainer.loss(draws, generator)

    def embed() -> Tensor:
        with accelerator.autocast():
            return trainer.embed()

    parts["text encoder"] = time_of(embed)
    parts["UNet"] = time_of(forward) - parts["text encoder"]
    both = time_of(lambda: accelerator.backward(forward()))
    parts["backward"] = both - parts["UNet"] - parts["text encoder"]
    parts["optimizer"] = time_of(lambda: optimize(trainer))
    return parts


def optimize(trainer: Trainer) -> None:
    """Move the parameters by the gradients that are there."""
    trainer.accelerator.clip_grad_norm_(trainer.parameters, trainer.settings.max_grad_norm)
    trainer.optimizer.step()


@torch.no_grad()
def measure_sampling(
    recipe: Recipe, arguments: argparse.Namespace, pipeline: StableDiffusionInpaintPipeline
) -> dict[str, float]:
    """Return the seconds of one completion and of its parts."""
    scene = load_scene(arguments.scene)
    factor = pipeline.vae_scale_factor
    size = size_in_multiples(scene.target.size, native_resolution(pipeline), factor)
    pixels = pipeline.image_processor.preprocess(resize(scene.target, size))
    count = 1 if recipe.plain else default_batch_size(pipeline, size, COMPLETIONS)
    pipeline.vae.enable_slicing()
    unet, vae = pipeline.unet.eval(), pipeline.vae
    place = {"device": unet.device, "dtype": unet.dtype}
    height, width = size[1] // factor, size[0] // factor
    inputs = torch.randn(count, unet.config.in_channels, height, width, **place)
    tokens = tokenize(pipeline, ["a photo"] * count).to(unet.device)
    embeddings = pipeline.text_encoder(tokens)[0]
    latents = torch.randn(1, unet.config.out_channels, height, width, **place)
    pixels = pixels.to(vae.device, vae.dtype)
    served = 1 if recipe.plain else COMPLETIONS
    repeats = arguments.repeats
    seconds = {
        "encoding": clock(lambda: vae.encode(pixels), repeats) / served,
        "a solver step": clock(lambda: unet(inputs, 500, embeddings), repeats) / count,
        "decoding": clock(lambda: vae.decode(latents), repeats),
    }
    steps = recipe.solver_steps * seconds["a solver step"]
    return seconds | {"one completion": seconds["encoding"] + steps + seconds["decoding"]}


def main() -> None:
    """Measure both recipes and leave a table, a JSON file and a picture."""
    arguments = parse_arguments()
    results = []
    for recipe in RECIPES:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            print(f"measuring: {recipe.name}", flush=True)
            results.append(process.submit(measure, recipe, arguments).result())
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    versions = library_versions()
    write_json(arguments.output.with_suffix(".json"), {"versions": versions, "results": results})
    draw_bars(results, arguments.output.with_suffix(".png"))
    print_tables(results)


if __name__ == "__main__":
    main()
