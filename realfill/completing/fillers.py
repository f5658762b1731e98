"""What can fill the part of the hole that geometry leaves: exemplars, or nothing.

The model's filler is in `realfill.completing.model_filler`, which takes seconds to import.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from realfill.completing.job import Completion, Filler, Rest
from realfill.errors import UserError
from realfill.exemplars.fill import Filling, complete_from_exemplars
from realfill.exemplars.panels import Panel
from realfill.exemplars.sources import doubtful_panel
from realfill.images.blend import composite
from realfill.provenance import INTERPOLATED, trace
from realfill.record import library_versions
from realfill.scene import Scene

EXEMPLARS_VERSION = 4
"""To be raised when the same photos and seed would give other completions."""
LIBRARIES = ("numpy", "opencv-python-headless", "pypatchmatch", "torch")


def exemplar_filler(seed: int) -> Filler:
    """Return the filler that copies pieces of the references."""

    def fill(scene: Scene, rest: Rest, indices: Sequence[int]) -> Iterator[tuple[int, Completion]]:
        hole = scene.hole
        for index, filling in from_exemplars(rest, indices, seed):
            provenance = trace(hole, rest.scene.hole, filling.sources, filling.which)
            evidence = {"set_up": filling.set_up, "strangeness": filling.strangeness}
            yield index, Completion(filling.image, provenance, evidence)

    settings = {"fill": "exemplar", "seed": seed, "method": EXEMPLARS_VERSION}
    return Filler(settings | library_versions(LIBRARIES), fill, None)


def from_exemplars(rest: Rest, indices: Sequence[int], seed: int) -> Iterator[tuple[int, Filling]]:
    """Yield fillings of the rest from exemplars; see `complete_from_exemplars`."""
    return complete_from_exemplars(rest.scene, doubtful_part(rest), indices, seed)


def doubtful_part(rest: Rest) -> Panel | None:
    """Return what geometry shows of the rest without being sure, if that is anything.

    Nothing if its depths are a guess and it knows no part of the hole: then they may be far off.
    """
    prefill = rest.prefill
    if prefill is None or (prefill.is_guess and rest.strength == 1):  # see `guide`
        return None
    seen = (np.asarray(prefill.confidence) > 0) & rest.scene.hole
    return doubtful_panel(np.asarray(prefill.image), seen) if seen.any() else None


def no_filler(geometry: str) -> Filler:
    """Return the filler that leaves the rest as geometry has continued it."""

    def fill(scene: Scene, rest: Rest, indices: Sequence[int]) -> Iterator[tuple[int, Completion]]:
        if rest.prefill is None or not rest.prefill.confidence.getbbox():
            said = rest.prefill.message if rest.prefill else "there are no references"
            raise UserError(
                f"{scene.name}: geometry fills nothing ({said}); use --fill exemplar, or --fill "
                "model with a --model_path"
            )
        for index in indices:
            yield index, Completion(composite(rest.prefill.image, scene.target, scene.mask))

    # A folder that --geometry only left before there was --fill has no "fill" in its record.
    return Filler({} if geometry == "only" else {"fill": "none"}, fill, INTERPOLATED)
