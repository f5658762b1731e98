"""Sample completions of a photo with a trained model and blend them into it.

accelerate launch infer.py --model_path OUTPUT --scene SCENE --output_dir RESULTS
"""

import shutil
from argparse import Namespace
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from accelerate import PartialState
from diffusers import StableDiffusionInpaintPipeline
from PIL import Image

from realfill.blending import composite
from realfill.command_line import LARGEST_SEED, make_parser, real, run, whole
from realfill.completions import (
    BEST_FILE,
    SCRIPT,
    claim_completions,
    missing_completions,
    overwriting,
    read_completions,
)
from realfill.contact_sheet import make_contact_sheet
from realfill.devices import DTYPES, choose_precision, start_process
from realfill.errors import UserError
from realfill.files import appears_whole, write_image, write_json
from realfill.geometry.guidance import MODES, cached_prefill, guide
from realfill.geometry.prefill import Prefill
from realfill.lock import one_writer
from realfill.matching import MATCHERS, choose_matcher
from realfill.models import (
    PROMPT,
    RECORD_FILE,
    fingerprint,
    load_adapted,
    native_resolution,
    read_record,
)
from realfill.results import library_versions
from realfill.runs import choose_seed
from realfill.sampling import DEFAULT_STEPS, SCHEDULERS, SamplingSettings, complete
from realfill.scene import Scene, load_scene, load_target, load_truth
from realfill.seed_selection import rank_folder


def parse_arguments(argv: list[str] | None) -> Namespace:
    """Parse `argv`, or the command line."""
    parser = make_parser("Sample completions of a photo with a trained model.")
    add = parser.add_argument
    add("--model_path", help="what train_realfill.py left, or a base")
    add("--scene", type=Path, help="scene folder: gives the photo and the mask")
    add("--validation_image", type=Path, help="the photo, where no --scene is given")
    add("--validation_mask", type=Path, help="its mask: white = to fill")
    add(
        "--output_dir",
        type=Path,
        default=Path("test-infer"),
        help="folder for the completions (default: %(default)s)",
    )
    add("--num_images", type=whole(1), default=16, help="completions (default: %(default)s)")
    add(
        "--seed",
        type=whole(0, LARGEST_SEED),
        help="image i starts from seed + i (default: random, written down)",
    )
    add("--batch_size", type=whole(1), help="images at once (default: as many as fit)")
    add(
        "--scheduler",
        choices=sorted(SCHEDULERS),
        default="dpm",
        help="ddpm is the paper's (default: %(default)s)",
    )
    steps = ", ".join(f"{name} {steps}" for name, steps in DEFAULT_STEPS.items())
    add(
        "--num_inference_steps",
        type=whole(1, 1000),
        help=f"steps of the scheduler (default: {steps})",
    )
    add(
        "--guidance_scale",
        type=real(0),
        default=1.0,
        help="1 is none (default: %(default)s)",
    )
    add("--prompt", help=f"prompt (default: the one trained with, or {PROMPT!r})")
    add(
        "--resolution",
        type=whole(1, 65536),
        help="working short side (default: the one trained with)",
    )
    add(
        "--mixed_precision",
        choices=("no", "fp16", "bf16"),
        help="default: the fastest safe one here",
    )
    add("--base_only", action="store_true", help="leave the adaptation out, for comparison")
    add(
        "--geometry",
        choices=MODES,
        default="auto",
        help="fill what the references prove before sampling; off: plain RealFill; "
        "only: no sampling, one picture, no model needed (default: %(default)s)",
    )
    add("--pretrained_model_name_or_path", help="the base, where the record does not name it")
    add("--overwrite", action="store_true", help="replace completions made with other settings")
    add(
        "--rank",
        nargs="?",
        choices=MATCHERS,
        const="auto",
        help="rank the completions with this matcher (auto: LoFTR where its weights can be had)",
    )
    arguments = parser.parse_args(argv)
    if arguments.rank and arguments.scene is None:
        parser.error("--rank needs references: give --scene, or use loftr_ranking.py")
    if arguments.scene is None and not (arguments.validation_image and arguments.validation_mask):
        parser.error("give --scene, or --validation_image and --validation_mask")
    if arguments.geometry == "only":
        if arguments.scene is None:
            parser.error("--geometry only needs --scene: it works from the references")
        arguments.num_images = 1
    elif arguments.model_path is None:
        parser.error("--model_path is needed, except with --geometry only")
    return arguments


def read_photos(arguments: Namespace) -> tuple[Scene, Image.Image | None]:
    """Read the photo and its mask, and for the contact sheet what else the scene has."""
    if arguments.scene is None:
        photos = load_target(arguments.validation_image, arguments.validation_mask)
        return Scene(arguments.validation_image.stem, {}, *photos), None
    scene = load_scene(arguments.scene)
    if arguments.validation_image or arguments.validation_mask:
        raise UserError("--scene gives the photo and the mask; leave the --validation_ flags out")
    return scene, load_truth(arguments.scene)


def settle(
    arguments: Namespace, record: dict[str, Any], previous: dict[str, Any], native: int
) -> tuple[SamplingSettings, int]:
    """Return the sampling settings and the seed: asked for, recorded, or the default."""
    steps = arguments.num_inference_steps or DEFAULT_STEPS[arguments.scheduler]
    settings = SamplingSettings(
        resolution=arguments.resolution or record.get("settings", {}).get("resolution") or native,
        scheduler=arguments.scheduler,
        num_inference_steps=steps,
        guidance_scale=arguments.guidance_scale,
        prompt=record.get("prompt", PROMPT) if arguments.prompt is None else arguments.prompt,
    )
    return settings, choose_seed(arguments.seed, {} if arguments.overwrite else previous)


def load_model(
    arguments: Namespace, state: PartialState
) -> tuple[StableDiffusionInpaintPipeline, dict[str, Any], str]:
    """Load the model onto the device; return it with its record and the precision."""
    precision = choose_precision(state.device, arguments.mixed_precision)
    state.print(
        f"device {state.device.type}, {state.num_processes} process(es), precision {precision}"
    )
    pipeline, record = load_adapted(
        arguments.model_path,
        DTYPES[precision],
        arguments.pretrained_model_name_or_path,
        arguments.base_only,
    )
    return pipeline.to(state.device), record, precision


def look_at_references(arguments: Namespace, scene: Scene, state: PartialState) -> Prefill | None:
    """Return what the references prove of the hole, and say how much; None where not wanted."""
    if arguments.geometry == "off" or not scene.references:
        return None
    with state.main_process_first():
        prefill = cached_prefill(scene, arguments.output_dir, state.device)
    state.print(f"geometry: {prefill.message}")
    return prefill


def begin_record(
    arguments: Namespace, scene: Scene, settings: dict[str, Any], state: PartialState
) -> list[int]:
    """Return the completions to be made, after writing down in realfill.json how."""
    folder, overwrite = arguments.output_dir, arguments.overwrite
    missing = missing_completions(folder, arguments.num_images, settings, overwrite)
    state.wait_for_everyone()
    if state.is_main_process:
        record = {
            "script": SCRIPT,
            "files": arguments.files,
            "model_path": arguments.model_path,
            "base_only": arguments.base_only,
            "scene": scene.name,
            "settings": settings,
            "versions": library_versions(),
        }
        write_json(folder / RECORD_FILE, record)
    return missing


def sample_completions(arguments: Namespace, scene: Scene, state: PartialState) -> Prefill | None:
    """Sample the completions that are missing in the output folder; return the prefill, if any."""
    pipeline, record, precision = load_model(arguments, state)
    previous = read_record(arguments.output_dir)
    sampling, seed = settle(arguments, record, previous, native_resolution(pipeline))
    settings = asdict(sampling) | {
        "seed": seed,
        "mixed_precision": precision,
        "model": fingerprint(pipeline),
        "photo": scene.digest(),
        "geometry": arguments.geometry,
    }
    del settings["strength"]  # it follows from the photos
    missing = begin_record(arguments, scene, settings, state)
    prefill = look_at_references(arguments, scene, state)
    guided, strength = guide(scene, prefill) if prefill else (scene, 1.0)
    with state.split_between_processes(missing) as share:
        for index, image in complete(
            pipeline,
            guided.target,
            guided.mask,
            share,
            seed,
            replace(sampling, strength=strength),
            arguments.batch_size,
            quiet=not state.is_main_process,
        ):
            write_image(arguments.output_dir / f"{index}.png", image)
    return prefill


def fill_without_sampling(arguments: Namespace, scene: Scene, state: PartialState) -> Prefill:
    """Write the prefill as the only completion. Raises `UserError` where there is none."""
    settings = {"photo": scene.digest(), "geometry": arguments.geometry}
    folder, overwrite = arguments.output_dir, arguments.overwrite
    missing_completions(folder, arguments.num_images, settings, overwrite)
    prefill = look_at_references(arguments, scene, state)
    if not prefill.confidence.getbbox():
        raise UserError(f"--geometry only: {prefill.message}; use auto or off")
    missing = begin_record(arguments, scene, settings, state)
    if state.is_main_process and missing:
        image = composite(prefill.image, scene.target, scene.mask)
        write_image(arguments.output_dir / "0.png", image)
    return prefill


def main(argv: list[str] | None = None) -> None:
    """Write 0.png, 1.png, …, realfill.json and contact_sheet.png; ranked, best.png too."""
    arguments = parse_arguments(argv)
    scene, truth = read_photos(arguments)
    state, folder = start_process(), arguments.output_dir
    fill = fill_without_sampling if arguments.geometry == "only" else sample_completions
    with one_writer(folder):
        state.wait_for_everyone()  # what a killed run left half-written is gone
        arguments.files = claim_completions(folder, arguments.num_images, arguments.scene)
        with overwriting(folder, arguments.overwrite, state) as arguments.output_dir:
            prefill = fill(arguments, scene, state)
        arguments.output_dir = folder
        state.wait_for_everyone()
        best = rank(arguments, scene, state) if arguments.rank else None
        if state.is_main_process:
            write_contact_sheet(arguments, scene, truth, best, prefill)


def rank(arguments: Namespace, scene: Scene, state: PartialState) -> str:
    """Rank the completions, copy the best one to best.png, and return its label."""
    ranked = rank_folder(
        [arguments.output_dir / f"{index}.png" for index in range(arguments.num_images)],
        scene.references,
        scene.mask,
        choose_matcher(arguments.rank),
        reference_folder=arguments.scene / "ref",
    )
    if state.is_main_process:
        with appears_whole(arguments.output_dir / BEST_FILE) as temporary:
            shutil.copyfile(ranked[0], temporary)
        print(f"best: {ranked[0].name}, copied to {arguments.output_dir / BEST_FILE}")
    return ranked[0].stem


def write_contact_sheet(
    arguments: Namespace,
    scene: Scene,
    truth: Image.Image | None,
    best: str | None,
    prefill: Prefill | None,
) -> None:
    """Draw contact_sheet.png from the completions in the output folder."""
    completions = read_completions(arguments.output_dir, arguments.num_images)
    path = arguments.output_dir / "contact_sheet.png"
    write_image(path, make_contact_sheet(scene, completions, truth, best, prefill))
    print(f"wrote {len(completions)} completions; look at {path}")


if __name__ == "__main__":
    run(main)
