"""The holes that decoders are compared on: of held-out photos, and of scenes."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from realfill.geometry.guide import cached_prefill, guide
from realfill.images.blend import resize, sampled_mask, size_in_multiples
from realfill.model.base import load_base, native_resolution
from realfill.photo_training.photos import list_photos
from realfill.scene import load_scene
from realfill.storage import write_image
from scripts.scores import read_truth
from scripts.tiny_base import SIZE
from scripts.tiny_base.evaluation import square

HELD_OUT = 100


@dataclass(frozen=True)
class Case:
    """A hole to fill."""

    name: str
    """A photo's, or a scene's and how geometry was used: `yard/auto`."""
    target: Image.Image
    """With what geometry is sure of filled in."""
    mask: Image.Image
    """What is left to fill."""
    truth: Image.Image
    hole: np.ndarray
    """bool `(H, W)`: the whole hole, before geometry."""
    strength: float


def prepare(
    photos: Path | None, scenes: list[Path], base: str, work: Path, geometry: str = "auto"
) -> list[Case]:
    """Return the cases, and write what a base is to sample from into `work`.

    With `geometry` "auto", a scene is there with its whole hole and with what geometry leaves.
    """
    pipeline = load_base(base, torch.float32)
    cases = [photo_case(path) for path in list_photos(photos, HELD_OUT)[1]] if photos else []
    for folder in tqdm(scenes, desc="geometry"):
        cases.append(whole_case(folder))
        cases += [guided_case(folder, work)] if geometry == "auto" else []
    cases = [case for case in cases if case.mask.getbbox()]
    for case in cases:
        size = size_in_multiples(
            case.target.size, native_resolution(pipeline), pipeline.vae_scale_factor
        )
        hole = sampled_mask(case.mask, size)
        image = Image.merge("RGBA", [*resize(case.target, size).split(), hole])
        (work / case.name).parent.mkdir(parents=True, exist_ok=True)
        write_image(work / f"{case.name}.png", image)
    return cases


def photo_case(path: Path) -> Case:
    """Return the middle square of a photo, with a centred quarter of its area to fill."""
    truth = square(path)
    hole = np.zeros((SIZE, SIZE), dtype=bool)
    hole[SIZE // 4 : -SIZE // 4, SIZE // 4 : -SIZE // 4] = True
    mask = Image.fromarray((hole * 255).astype(np.uint8))
    return Case(path.stem, truth, mask, truth, hole, 1.0)


def whole_case(folder: Path) -> Case:
    """Return a scene with its whole hole to fill."""
    scene = load_scene(folder)
    name = f"{scene.name}/off"
    return Case(name, scene.target, scene.mask, read_truth(folder), scene.hole, 1.0)


def guided_case(folder: Path, work: Path) -> Case:
    """Return a scene with what geometry leaves to fill, which may be nothing."""
    scene = load_scene(folder)
    kept = work / "geometry" / scene.name
    kept.mkdir(parents=True, exist_ok=True)
    rest, strength = guide(scene, cached_prefill(scene, kept, torch.device("cpu")))
    name = f"{scene.name}/auto"
    return Case(name, rest.target, rest.mask, read_truth(folder), scene.hole, strength)
