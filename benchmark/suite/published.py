"""Numbers that others have published for RealBench, to stand beside one's own."""

from dataclasses import dataclass

COLUMNS = ("psnr", "ssim", "lpips", "dreamsim", "dino", "clip")
UNSTATED = "over the hole, how is not stated"


@dataclass(frozen=True)
class Row:
    """One method's means over `scenes` scenes of RealBench, in the order of `COLUMNS`."""

    method: str
    source: str
    scenes: int
    lpips_convention: str
    values: tuple[float, ...]


PAPER = "RealFill, Table 1 (arXiv 2309.16668)"
ROWS = (
    Row("SD Inpaint", PAPER, 33, UNSTATED, (10.63, 0.282, 0.605, 0.213, 0.831, 0.874)),
    Row("Generative Fill", PAPER, 33, UNSTATED, (10.92, 0.311, 0.598, 0.212, 0.851, 0.898)),
    Row("Paint-by-Example", PAPER, 33, UNSTATED, (10.13, 0.244, 0.642, 0.237, 0.797, 0.859)),
    Row("TransFill", PAPER, 33, UNSTATED, (13.28, 0.404, 0.542, 0.192, 0.860, 0.866)),
    Row("RealFill", PAPER, 33, UNSTATED, (14.78, 0.424, 0.431, 0.077, 0.948, 0.962)),
    Row(
        "RealFill, reproduced",
        "eric15342335/realfill",
        12,
        "rest zeroed",
        (13.78, 0.440, 0.248, 0.062, 0.960, 0.965),
    ),
)
