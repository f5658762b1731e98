"""Compare decoders and joins on held-out photos and on scenes, over the same latents.

python -m scripts.bench_decoder --photos PHOTOS --scenes data/yard data/graf \
    --decoder DECODER --work_dir work/bench-decoder

The holes are prepared, then filled by a base once, then decoded and joined in every way. What is
in `--work_dir` already is not made again: another machine can sample, with `--sample_only`, from
what was prepared on this one.
"""

import argparse
import json
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import load_file

from realfill.command_line import make_parser, run, whole
from realfill.devices import DTYPES, choose_precision, start_process
from realfill.model.base import load_base
from realfill.sampling.latents import sample_latents, scheduled
from realfill.settings import SamplingSettings
from realfill.storage import write_json, write_tensors

SEEDS = (0, 100, 200)
SAMPLES = 4
CASES_FILE = "cases.json"
LATENTS_FILE = "latents.safetensors"


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = make_parser("Compare decoders and joins.")
    add = parser.add_argument
    add("--photos", type=Path, help="folder of photos whose last 100 bsds-* are looked at")
    add("--scenes", type=Path, nargs="*", default=[], help="scene folders with a truth")
    add("--base", default="data/tiny-inpainting", help="(default: %(default)s)")
    add("--decoder", type=Path, help="what train_decoder.py left")
    add("--work_dir", type=Path, required=True, help="folder for the latents and the figures")
    add("--geometry", choices=("auto", "off"), default="auto", help="off: whole holes alone")
    add("--samples", type=whole(1, SAMPLES), default=SAMPLES, help="scored of each seed")
    add("--sample_only", action="store_true", help="sample what was prepared in --work_dir")
    return parser.parse_args()


def main() -> None:
    """Prepare, sample, decode, join and score."""
    arguments = parse_arguments()
    work = arguments.work_dir
    if not arguments.sample_only:
        from scripts.decoders.cases import prepare  # not where a base only samples

        cases = prepare(
            arguments.photos, arguments.scenes, arguments.base, work, arguments.geometry
        )
        write_json(work / CASES_FILE, {case.name: case.strength for case in cases})
    sample_missing(work, arguments.base)
    if not arguments.sample_only and arguments.decoder:
        from scripts.decoders.scores import report

        latents = load_file(work / LATENTS_FILE)
        latents = {name: each[: arguments.samples] for name, each in latents.items()}
        report(cases, latents, arguments.base, arguments.decoder, work)


def sample_missing(work: Path, base: str) -> None:
    """Sample every prepared hole with every seed, if that was not done."""
    if (work / LATENTS_FILE).exists():
        return
    state = start_process()
    pipeline = load_base(base, DTYPES[choose_precision(state.device, None)]).to(state.device)
    latents = {}
    for name, strength in json.loads((work / CASES_FILE).read_text()).items():
        image = Image.open(work / f"{name}.png")
        photo, hole = image.convert("RGB"), image.getchannel("A")
        settings = SamplingSettings(min(photo.size), strength=strength)
        for seed in SEEDS if "/" in name else SEEDS[:1]:
            generators = [torch.Generator().manual_seed(seed + i) for i in range(SAMPLES)]
            with scheduled(pipeline, settings.scheduler):
                sampled = sample_latents(
                    pipeline, [photo] * SAMPLES, [hole] * SAMPLES, settings, generators
                )
            latents[f"{name} {seed}"] = sampled.half().cpu()
        print(name, flush=True)
    write_tensors(work / LATENTS_FILE, latents)


if __name__ == "__main__":
    run(main)
