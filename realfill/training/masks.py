"""The random masks of training (RealFill, section 3.2): what the model must learn to fill."""

import torch

MAX_RECTANGLES = 29
MIN_SIDE, MAX_SIDE, MARGIN = 0.03, 0.25, 0.01
"""Sides of a rectangle and its distance from the border, as shares of the crop's side."""


def random_rectangles(count: int, size: int, generator: torch.Generator) -> torch.Tensor:
    """Draw `count` unions of 1 to 29 random rectangles, each inverted half of the time.

    Returns a float tensor `(count, 1, size, size)` of 0 (known) and 1 (to fill), on the CPU.
    """

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(count, *shape, generator=generator)

    sides = (MIN_SIDE + (MAX_SIDE - MIN_SIDE) * uniform(2, MAX_RECTANGLES)) * size
    starts = MARGIN * size + uniform(2, MAX_RECTANGLES) * (size * (1 - 2 * MARGIN) - sides)
    drawn = torch.arange(MAX_RECTANGLES) < 1 + (uniform(1) * MAX_RECTANGLES).floor()

    # A rectangle is an interval of rows times an interval of columns; their sum over rectangles
    # counts how many cover a pixel, which is far cheaper than drawing each one.
    pixels = torch.arange(size) + 0.5
    inside = (pixels >= starts[..., None]) & (pixels < (starts + sides)[..., None])
    rows, columns = inside.float().unbind(1)
    covered = torch.einsum("bn,bnr,bnc->brc", drawn.float(), rows, columns) > 0
    inverted = uniform(1, 1) < 0.5
    return (covered ^ inverted).float().unsqueeze(1)


def random_masks(
    count: int, size: int, generator: torch.Generator, everything: float = 0.1
) -> torch.Tensor:
    """Draw the masks of `count` references: rectangles, or all of it for a share `everything`.

    Returns a float tensor `(count, 1, size, size)` of 0 (known) and 1 (to fill), on the CPU.
    """
    masks = random_rectangles(count, size, generator)
    masks[torch.rand(count, generator=generator) < everything] = 1.0
    return masks
