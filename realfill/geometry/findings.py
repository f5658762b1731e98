"""What geometry finds on its way from the photos to a prefill, and how long each stage takes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from realfill.geometry.cameras import explained, find_cameras, without_copies
from realfill.geometry.features import Correspondences, find_correspondences
from realfill.geometry.prefill import Depths, Prefill, find_depths, make_prefill
from realfill.geometry.relative import DepthModel, Shapes
from realfill.geometry.views import Cameras, View
from realfill.scene import Scene


@dataclass(frozen=True)
class Findings:
    """All that was found about one scene."""

    matches: Correspondences
    cameras: Cameras
    depths: Depths | None
    """None if no reference is tied."""
    prefill: Prefill
    seconds: dict[str, float]
    """By stage."""

    def agreeing(self, name: str) -> np.ndarray:
        """Return which matches of the target and reference `name` its view explains, bool `(M,)`.

        Those which some depth brings together; none if the reference is not tied.
        """
        if name not in self.cameras.views:
            return np.zeros(len(self.matches.pairs[0, 1 + self.matches.names.index(name)]), bool)
        return explained(self.cameras, self.matches, name)


def look(scene: Scene, device: torch.device, depth_model: DepthModel | None = None) -> Findings:
    """Match the photos, find the cameras and the depths, and render. Says on a line how it goes."""
    seconds: dict[str, float] = {}
    shapes = depth_model and depth_model.shapes(scene)
    print("geometry: finding the cameras")
    with one_thread():
        matches, cameras = tie(scene, device, shapes, seconds)
        print(f"geometry: cameras by {cameras.method}; comparing depths and colours")
        with timed(seconds, "depths"):
            depths = find_depths(scene, cameras, device, shapes)
        with timed(seconds, "rendering"):
            prefill = make_prefill(scene, cameras, depths)
    return Findings(matches, cameras, depths, prefill, seconds)


def tie(
    scene: Scene, device: torch.device, shapes: Shapes | None, seconds: dict[str, float]
) -> tuple[Correspondences, Cameras]:
    """Match the photos of a scene and find their cameras; write down how long each takes."""
    with timed(seconds, "features and matches"):
        references = without_copies(scene.target, scene.mask, scene.references)
        matches = find_correspondences(scene.target, scene.mask, references)
    with timed(seconds, "hypotheses"):
        return matches, find_cameras(scene, matches, device, shapes)


def views_with_depth(scene: Scene, device: torch.device) -> dict[str, View]:
    """Return, by reference, the views that tell where its camera stood, which planes do not."""
    with one_thread():
        _, cameras = tie(scene, device, None, {})
    return cameras.with_depth


@contextmanager
def timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Write down how long a stage takes, to a hundredth of a second."""
    started = time.perf_counter()
    yield
    seconds[stage] = round(time.perf_counter() - started, 2)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread: the sums have one order, and the many small steps do not wait.

    On two busy cores the sweep took ten times as long with two threads.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
