"""Laying the reference and the photo side by side (LeftRefill, arXiv 2305.11577, section 3.1)."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from realfill.images.blend import resize, sampled_mask, size_in_multiples

GREY = (128, 128, 128)


@dataclass(frozen=True)
class Canvas:
    """The photo on the right of each reference, all of one size and with one mask."""

    views: list[Image.Image]
    """RGB, one a reference."""
    mask: Image.Image
    """L: 255 in the photo's hole, 0 elsewhere and on all of the left."""
    panels: list[tuple[int, int]]
    """By view, left and right end of the reference: x in pixels."""
    left: int
    """Where the photo begins: x in pixels."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.mask.size

    def photo_of(self, canvas: Image.Image) -> Image.Image:
        """Return the photo's part of a canvas."""
        return canvas.crop((self.left, 0, *self.size))


def lay_out(
    photo: Image.Image,
    mask: Image.Image,
    references: Sequence[Image.Image],
    resolution: int,
    multiple: int,
) -> Canvas:
    """Lay `photo` (RGB, its `mask` L of the same size) beside each of the `references`.

    The photo gets a short side of `resolution` pixels, the references its height; all keep their
    aspect ratios to within half a `multiple`, of which sides are multiples. References narrower
    than the widest end at the photo, with grey to their left.
    """
    size = size_in_multiples(photo.size, resolution, multiple)
    height = size[1]
    widths = [
        max(1, round(height * each.width / each.height / multiple)) * multiple
        for each in references
    ]
    left = max(widths)
    right = resize(photo, size)
    views, panels = [], []
    for reference, width in zip(references, widths, strict=True):
        view = Image.new("RGB", (left + size[0], height), GREY)
        view.paste(resize(reference, (width, height)), (left - width, 0))
        view.paste(right, (left, 0))
        views.append(view)
        panels.append((left - width, left))
    canvas_mask = Image.new("L", (left + size[0], height), 0)
    canvas_mask.paste(sampled_mask(mask, size), (left, 0))
    return Canvas(views, canvas_mask, panels, left)
