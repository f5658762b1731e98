"""A page of crops, before and after, of what `scripts.bench_decoder` sampled.

python -m scripts.decoders.crops --photos PHOTOS --scenes data/yard data/graf \
    --decoder DECODER --work_dir work/bench-decoder --page crops.jpg

Each row is a crop around the middle of the hole's left edge, at twice its size: the truth, the
autoencoder's decoder with the feathered mask alone, with the gradient-domain join, and the decoder
that sees the known pixels with it.
"""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

from realfill.command_line import make_parser, run
from realfill.images.blend import hole_of
from realfill.model.base import load_base
from realfill.model.decoder import load_decoder
from scripts.decoders.cases import Case, prepare
from scripts.decoders.scores import fill_all

SHOWN = ("autoencoder, mask", "autoencoder, join", "decoder, join")
SIDE = 192
"""Of a crop of a scene, in pixels; a photo of the held-out set is shown whole."""
GAP = 6


def draw_row(case: Case, pictures: list[np.ndarray]) -> np.ndarray:
    """Return the crops of `pictures` beside each other at twice their size."""
    hole = hole_of(case.mask)
    rows, columns = np.flatnonzero(hole.any(1)), np.flatnonzero(hole.any(0))
    side = min(SIDE, *hole.shape)
    row, column = (rows[0] + rows[-1]) // 2, columns[0] if columns[0] else columns[-1]
    top = int(np.clip(row - side // 2, 0, hole.shape[0] - side))
    left = int(np.clip(column - side // 2, 0, hole.shape[1] - side))
    size = (2 * SIDE, 2 * SIDE)
    crops = [
        np.asarray(Image.fromarray(p[top : top + side, left : left + side]).resize(size))
        for p in pictures
    ]
    return np.concatenate([np.pad(c, ((0, GAP), (0, GAP), (0, 0))) for c in crops], 1)


def main() -> None:
    """Draw the page."""
    parser = make_parser("Draw a page of crops, before and after.")
    add = parser.add_argument
    add("--photos", type=Path)
    add("--scenes", type=Path, nargs="*", default=[])
    add("--base", default="data/tiny-inpainting")
    add("--decoder", type=Path, required=True)
    add("--work_dir", type=Path, required=True)
    add("--cases", nargs="*", help="names of the cases (default: all)")
    add("--page", type=Path, required=True)
    arguments = parser.parse_args()
    pipeline = load_base(arguments.base, torch.float32)
    decoder = load_decoder(arguments.decoder, pipeline)
    latents = load_file(arguments.work_dir / "latents.safetensors")
    cases = prepare(arguments.photos, arguments.scenes, arguments.base, arguments.work_dir, "off")
    rows = []
    for case in cases:
        if arguments.cases and case.name not in arguments.cases:
            continue
        fills = fill_all(case, {"0": latents[f"{case.name} 0"][:1]}, pipeline, decoder)
        shown = [fills[way][0][0] for way in SHOWN]
        rows.append(draw_row(case, [np.asarray(case.truth), *shown]))
    Image.fromarray(np.concatenate(rows, 0)).save(arguments.page, quality=88)


if __name__ == "__main__":
    run(main)
