"""What joins and sets are judged by, on planted cases."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from benchmark.base import Options, SetMetric, find_metric
from benchmark.photos import Photo, Truth
from realfill.errors import UserError
from tests.metric_helpers import run_alone

SIDE = 512


def measure(name: str, folder: Path, truth: np.ndarray, image: np.ndarray, hole: object) -> float:
    """Return the metric `name` of an image, all from files."""
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[hole] = 255
    for file, pixels in (("gt", truth), ("mask", mask), ("0", image)):
        Image.fromarray(pixels).save(folder / f"{file}.png")
    photos = Truth(folder / "gt.png", folder / "mask.png"), [Photo(folder / "0.png")]
    return find_metric(name)(Options()).measure(*photos)[0][0]


def flat(level: int = 100) -> np.ndarray:
    return np.full((SIDE, SIDE, 3), level, np.uint8)


@pytest.mark.parametrize("spread", [1, 3])
def test_a_seam_is_as_high_as_the_step(tmp_path: Path, spread: int) -> None:
    hole = np.s_[:, 200:]
    image = flat()
    image[hole] += 40
    image = cv2.blur(image, (spread, 1))
    assert measure("seam", tmp_path, flat(), image, hole) == pytest.approx(40, abs=0.5)


def test_a_step_that_the_truth_has_too_is_no_seam(tmp_path: Path) -> None:
    image = flat()
    image[:, 200:] += 40
    assert measure("seam", tmp_path, image, image, np.s_[:, 200:]) == 0
    # Leaving it out is as wrong as putting one in.
    missing = measure("seam", tmp_path, image, flat(), np.s_[:, 200:])
    assert missing == pytest.approx(40, abs=0.5)


def test_a_step_elsewhere_is_no_seam(tmp_path: Path) -> None:
    image = flat()
    image[300:400, 300:400] += 40
    assert measure("seam", tmp_path, flat(), image, np.s_[200:, 200:]) == 0


def test_a_cast_is_as_large_as_it_was_made(tmp_path: Path) -> None:
    hole = np.s_[100:300, 100:300]
    image = flat()
    image[hole] = np.add((10, -20, 30), 100)
    assert measure("ring_colour", tmp_path, flat(), image, hole) == pytest.approx(20)
    # The ring is 16 pixels wide at 512, and what is deeper does not count.
    image[116:284, 116:284] = 255
    assert measure("ring_colour", tmp_path, flat(), image, hole) == pytest.approx(20)
    image[115:285, 115:285] = 255
    assert measure("ring_colour", tmp_path, flat(), image, hole) > 21


def distances(
    truths: np.ndarray, completions: np.ndarray, own: np.ndarray | None = None
) -> list[float]:
    """Return U-IDS and P-IDS; without `own`, completion i belongs to truth i."""
    own = np.arange(len(completions)) if own is None else own
    scores = []
    for name in ("u_ids", "p_ids"):
        metric = find_metric(name)(Options())
        assert isinstance(metric, SetMetric)
        scores.append(metric.distance(truths, completions, own))
    return scores


def test_sets_apart_score_0_and_equal_sets_a_half() -> None:
    truths = np.random.default_rng(0).normal(size=(50, 8))
    assert distances(truths, truths + 100) == [0, 0]
    assert distances(truths, truths) == [0.5, 0.5]


def test_sets_that_are_classified_by_hand() -> None:
    # Mirrored sets: the boundary is at 0, and truths are on its left, all but one.
    truths = np.array([[-3.0], [-2.0], [1.0]])
    assert distances(truths, -truths) == pytest.approx([1 / 3, 1 / 3])
    # The third truth is led by all completions, the others by none but the third completion.
    several = distances(truths, -truths[[0, 1, 2, 2]], own=np.array([2, 2, 0, 2]))
    assert several[1] == pytest.approx(1 / 4)


def test_sets_that_cannot_be_compared() -> None:
    truths = np.zeros((3, 2))
    for name in ("u_ids", "p_ids"):
        metric = find_metric(name)(Options())
        assert isinstance(metric, SetMetric)
        with pytest.raises(UserError, match="two truths or more"):
            metric.distance(truths[:1], truths, np.zeros(3, int))
    with pytest.raises(UserError, match="pairs"):
        distances(truths, truths, own=np.full(3, -1))


@pytest.mark.parametrize("name", ["seam", "ring_colour"])
def test_it_runs_alone(tmp_path: Path, name: str) -> None:
    hole = np.s_[100:300, 100:300]
    (tmp_path / "results").mkdir()
    image = flat()
    image[hole] += 30
    expected = measure(name, tmp_path, flat(), image, hole)
    (tmp_path / "0.png").rename(tmp_path / "results" / "0.png")
    flags = ["--gt_path", tmp_path / "gt.png", "--mask_path", tmp_path / "mask.png"]
    printed = run_alone(name, *flags, "--results_dir", tmp_path / "results")
    assert f"{name} 0.png {expected:.6f}" in printed
