"""What every metric is, and how it is found by name.

A metric is a file in this package, `benchmark/<name>.py`, with a subclass of `Metric` (or of
`SetMetric`) named like the file (`psnr.py`: `Psnr`, `ring_colour.py`: `RingColour`). Nothing else
has to know of it: `--metrics <name>` finds it.
"""

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np

from benchmark.photos import Photo, Truth
from realfill.errors import UserError

METRICS = ("psnr", "ssim", "lpips", "dreamsim", "dino", "clip")
"""The metrics of a report if none are named, in the order of the paper's Table 1."""
ON_REQUEST = ("seam", "ring_colour", "fid", "u_ids", "p_ids")
"""Those that a report has only if they are named."""

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Score:
    """One number that a metric gives to a completion: a column of the report."""

    name: str
    title: str
    higher_is_better: bool
    unit: str = ""
    digits: int = 3


@dataclass(frozen=True)
class Options:
    """What scores depend on besides the images; `resolution` None means the photos' own size."""

    resolution: int | None = 512
    lpips_net: str = "alex"
    model_dir: Path | None = None


class Unavailable(Exception):
    """A metric cannot be computed here; the message is the reason that the report gives."""


class Metric(ABC):
    """A comparison of completions with the truth of their scene.

    `version` changes when the same images would get other scores, so that no old one is reused.
    Metrics that are `kept_as` one have the same numbers for each photo, which are measured once.
    """

    scores: ClassVar[tuple[Score, ...]]
    version: ClassVar[int] = 1
    kept_as: ClassVar[str | None] = None

    def __init__(self, options: Options) -> None:
        """Take the options; models are loaded by `load`, only if there is something to score."""
        self.options = options

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Return what the scores depend on besides the images: a part of the cache's key."""

    def load(self) -> None:  # noqa: B027
        """Load the model, if there is one. Raises `Unavailable` if that fails."""

    @abstractmethod
    def measure(self, truth: Truth, completions: Sequence[Photo]) -> list[list[float]]:
        """Return a list of as many numbers as there are `scores` for each completion.

        Raises `UserError` if these images cannot be compared.
        """


class SetMetric(Metric):
    """A comparison of all completions of a set with all truths of their scenes.

    It has one score.
    """

    @abstractmethod
    def measure(self, truth: Truth | None, completions: Sequence[Photo]) -> list[list[float]]:
        """Return the features of each photo, without looking at the truth."""

    @abstractmethod
    def distance(self, truths: np.ndarray, completions: np.ndarray, own: np.ndarray) -> float:
        """Return the score of two sets of features, `(photos, length)` each.

        `own` has, for each completion, the number of its own truth among `truths`; -1 if that is
        not known. Raises `UserError` if these sets cannot be compared, and `Unavailable`.
        """


def find_metric(name: str) -> type[Metric]:
    """Return the metric in `benchmark/<name>.py`; capitals do not matter. Raises `UserError`."""
    name = name.lower()
    path = Path(__file__).with_name(f"{name}.py")
    if re.fullmatch(r"\w+", name) and path.exists():
        kind = "".join(word.capitalize() for word in name.split("_"))
        found = getattr(import_module(f"benchmark.{name}"), kind, None)
        if isinstance(found, type) and issubclass(found, Metric):
            return found
    raise UserError(
        f"--metrics {name}: no such metric; there are {', '.join(METRICS + ON_REQUEST)}"
    )


def in_parallel(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Return the results of `function`, called on all cores: OpenCV and Pillow let them run."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with ThreadPoolExecutor(cores) as pool:
        return list(pool.map(function, items))
