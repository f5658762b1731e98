"""RealFill: reference-driven image completion (arXiv 2309.16668).

    scene = realfill.load_scene(Path("scene"))
    realfill.complete_scene(realfill.Job(scene, Path("results"), scene_folder=Path("scene")))

`train_scene` adapts a base to a scene, `rank_folder` ranks completions by correspondences, and
`complete_scenes` does all of it for many scenes. Each name is imported when it is first used: torch
and diffusers take seconds.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
PLACES = {
    "Job": "completing.job",
    "ModelFlags": "completing.job",
    "Plan": "scenes.plan",
    "TrainingFlags": "settings",
    "UserError": "errors",
    "choose_matcher": "matching.pairs",
    "complete_scene": "completing.complete",
    "complete_scenes": "scenes.run",
    "find_completions": "sampling.folder",
    "load_scene": "scene",
    "rank_folder": "ranking.rank",
    "train_scene": "training.job",
}
"""The public names, and the modules that they are in."""
__all__ = list(PLACES)


def __getattr__(name: str) -> Any:
    """Import a name of the package when it is first used."""
    if name not in PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{PLACES[name]}"), name)
