"""What a matcher gives, and what it must be able to do."""

from typing import Any, NamedTuple, Protocol

import numpy as np
from PIL import Image


class Matches(NamedTuple):
    """Correspondences of a photo with a reference, in pixels at matching size.

    A pixel's centre has whole-number coordinates. A match that is sure has confidence 1.
    """

    points: np.ndarray
    """`(N, 2)` float32: x, y in the photo."""
    reference_points: np.ndarray
    """`(N, 2)` float32: x, y in the reference."""
    confidence: np.ndarray
    """`(N,)` float32 in 0..1."""

    @classmethod
    def none(cls) -> "Matches":
        """Return no matches."""
        return cls(*(np.empty(shape, np.float32) for shape in ((0, 2), (0, 2), (0,))))

    def chosen(self, which: np.ndarray) -> "Matches":
        """Return the matches where the bool `(N,)` `which` is true."""
        return Matches(*(values[which] for values in self))


class Matcher(Protocol):
    """Finds correspondences between photos at matching size."""

    name: str
    default_threshold: float
    """The confidence above which a match counts."""
    settings: dict[str, Any]
    """All that decides the matches, besides the photos; JSON can hold it."""

    def extract(self, image: Image.Image) -> Any:
        """Compute once for an RGB image what all its pairs share."""
        ...

    def match(self, photo: Any, references: list[Any]) -> list[Matches]:
        """Match one photo with several references, all given as `extract` returned them."""
        ...
