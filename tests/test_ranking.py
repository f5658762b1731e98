"""The arithmetic of ranking: geometry, counting, order, consensus, the cache."""

from pathlib import Path

import numpy as np
import pytest
import torch
from kornia.geometry.epipolar import sampson_epipolar_distance
from PIL import Image

from realfill.matching.base import Matches
from realfill.matching.epipolar import FEWEST_MATCHES, fundamental_matrix, sampson_distance
from realfill.matching.evidence import FEWEST, Geometry, Ranked, consensus, counting, put_in_order
from realfill.matching.pairs import CACHE, at_matching_size, match_pairs
from realfill.matching.sift import Sift
from realfill.ranking.rank import rank_completions
from realfill.scene import load_scene, load_truth
from scripts.bench_ranking import plant
from tests.conftest import ROOT, draw_photo


def two_views(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Project random points of a room into two cameras of 800 x 600 px."""
    random = np.random.default_rng(0)
    points = random.uniform((-2, -1.5, 4), (2, 1.5, 9), (count, 3))
    camera = np.array([[700, 0, 400], [0, 700, 300], [0, 0, 1]])
    angle = 0.15
    turn = np.array(
        [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
    )
    views = []
    for placed in (points, points @ turn.T + (-0.8, 0.1, 0.2)):
        projected = placed @ camera.T
        views.append((projected[:, :2] / projected[:, 2:]).astype(np.float32))
    return views[0], views[1]


def test_the_geometry_of_two_views_is_found_among_wrong_matches() -> None:
    points, reference_points = two_views(300)
    random = np.random.default_rng(1)
    wrong = np.arange(300) < 120
    reference_points[wrong] = random.uniform((0, 0), (800, 600), (120, 2))
    matrix, agreeing = fundamental_matrix(points, reference_points)
    assert agreeing[~wrong].mean() > 0.99
    assert agreeing[wrong].mean() < 0.1
    distance = sampson_distance(matrix, points[~wrong], reference_points[~wrong])
    assert distance.max() < 0.5
    shifted = sampson_distance(matrix, points[~wrong] + 12, reference_points[~wrong])
    assert np.mean(shifted > 3) > 0.9


def test_sampson_distance_is_kornia_s() -> None:
    points, reference_points = two_views(50)
    matrix = np.random.default_rng(2).normal(size=(3, 3))
    theirs = sampson_epipolar_distance(
        torch.from_numpy(points.astype(float))[None],
        torch.from_numpy(reference_points.astype(float))[None],
        torch.from_numpy(matrix)[None],
        squared=False,
    )
    np.testing.assert_allclose(
        sampson_distance(matrix, points, reference_points), theirs[0], rtol=1e-4
    )


def test_too_few_or_senseless_matches_have_no_geometry() -> None:
    points, reference_points = two_views(FEWEST_MATCHES - 1)
    assert fundamental_matrix(points, reference_points)[0] is None
    assert fundamental_matrix(points[:0], reference_points[:0])[0] is None
    random = np.random.default_rng(3)
    senseless = random.uniform(0, 600, (2, FEWEST_MATCHES, 2)).astype(np.float32)
    assert fundamental_matrix(*senseless)[0] is None


def test_what_counts() -> None:
    hole = np.zeros((6, 8), bool)
    hole[2:4, 3:6] = True
    points = np.float32([[3, 2], [5, 3], [6, 3], [0, 0], [4, 2]])
    # Of a pure sideways motion: rows agree.
    matrix = np.array([[0, 0, 0], [0, 0, -1], [0, 1, 0]], float)
    matches = Matches(points, points + np.float32([[9, 0], [9, 0], [9, 0], [9, 0], [9, 9]]), None)
    geometry = Geometry(matrix, 100, 100)
    assert counting(matches, "whole", None, None).tolist() == [True] * 5
    assert counting(matches, "hole", hole, None).tolist() == [True, True, False, False, True]
    counted = counting(matches, "geometric", hole, geometry)
    assert counted.tolist() == [True, True, False, False, False]
    without = counting(matches, "geometric", hole, Geometry(None, 5, 0))
    assert without.tolist() == [True, True, False, False, True]


def make_ranked(name: str, number: int, confidence: float, near: float) -> Ranked:
    return Ranked(name, {"0.png": number, "1.png": 0}, {"0.png": confidence, "1.png": 0.0}, near)


def test_order_and_ties() -> None:
    completions = [
        make_ranked("a", 30, 0.5, 0.9),
        make_ranked("b", 31, 0.1, 0.1),
        make_ranked("c", 30, 0.6, 0.1),
        make_ranked("d", 30, 0.5, 0.95),
        make_ranked("e", 30, 0.5, 0.9),
    ]
    rule, order = put_in_order(completions)
    assert rule == "correspondences"
    assert [each.name for each in order] == ["b", "c", "d", "a", "e"]


def test_consensus_ranks_where_correspondences_are_too_few() -> None:
    completions = [make_ranked("a", FEWEST - 1, 0.9, 0.2), make_ranked("b", 0, 0.0, 0.3)]
    rule, order = put_in_order(completions)
    assert rule == "consensus"
    assert [each.name for each in order] == ["b", "a"]
    completions.append(make_ranked("c", FEWEST, 0.0, 0.0))
    assert put_in_order(completions)[1][0].name == "c"


def test_confidence_is_the_mean_over_all_matches() -> None:
    ranked = Ranked("a", {"0": 3, "1": 1}, {"0": 0.5, "1": 0.9}, 0.0)
    assert ranked.number == 4
    assert ranked.confidence == pytest.approx((3 * 0.5 + 0.9) / 4)


def test_consensus_by_hand() -> None:
    images = [np.full((2, 2, 3), value, np.uint8) for value in (10, 20, 50)]
    for image in images:
        image[0, 0] = 200 + image[0, 0]  # outside of the hole
    hole = np.array([[False, True], [True, True]])
    assert consensus(images, hole) == pytest.approx([1 - 10 / 255, 1, 1 - 30 / 255])


@pytest.mark.parametrize("name", ["yard", "graf"])
def test_the_truth_is_ranked_before_what_only_looks_like_it(name: str, tmp_path: Path) -> None:
    scene, truth = load_scene(ROOT / "data" / name), load_truth(ROOT / "data" / name)
    other = load_truth(ROOT / "data" / {"yard": "graf", "graf": "yard"}[name])
    completions = plant(scene, truth, other)
    photos = (completions, scene.references, scene.mask)
    ranking = rank_completions(*photos, Sift(), "geometric", None, tmp_path)
    assert ranking.rule == "correspondences"
    assert ranking.completions[0].name == "truth"
    numbers = {each.name: each.number for each in ranking.completions}
    by_place = {
        each.name: each.number
        for each in rank_completions(*photos, Sift(), "hole", None, tmp_path).completions
    }
    for shift in ("shifted 12 px", "shifted 24 px", "shifted 48 px"):
        assert by_place[shift] > 0.6 * by_place["truth"], "place alone can hardly tell"
        assert numbers[shift] < 0.1 * numbers["truth"]


@pytest.mark.parametrize("count", ["geometric", "hole", "whole"])
def test_photos_without_texture_are_ranked_by_consensus(count: str, tmp_path: Path) -> None:
    completions = {str(i): Image.new("RGB", (120, 90), (i, i, i)) for i in (90, 40, 50)}
    mask = Image.new("L", (120, 90), 0)
    mask.paste(255, (20, 20, 60, 60))
    references = {"white.png": Image.new("RGB", (200, 100), "white")}
    ranking = rank_completions(completions, references, mask, Sift(), count, None, tmp_path)
    assert ranking.rule == "consensus"
    assert [each.name for each in ranking.completions] == ["50", "40", "90"]


def test_matches_are_kept_by_content(tmp_path: Path, capsys) -> None:
    photos = {"a": draw_photo(0), "b": draw_photo(1)}
    references = {"0": draw_photo(0), "1": draw_photo(2)}

    def match() -> tuple[dict, str]:
        matches = match_pairs(Sift(), photos, references, tmp_path / CACHE)
        return matches, capsys.readouterr().out

    first, printed = match()
    assert "4 pairs with sift, 0 from the cache" in printed
    again, printed = match()
    assert "4 from the cache" in printed
    for pair in first:
        for values, kept in zip(first[pair], again[pair], strict=True):
            assert np.array_equal(values, kept)
    photos["c"] = photos.pop("b")
    assert "4 from the cache" in match()[1], "names do not matter"
    photos["a"] = draw_photo(3)
    assert "2 from the cache" in match()[1]
    for path in (tmp_path / CACHE).iterdir():
        path.write_bytes(b"damaged")
    mended, printed = match()
    assert "0 from the cache" in printed
    assert np.array_equal(mended["c", "1"].points, first["b", "1"].points)


@pytest.mark.parametrize(
    ("size", "matching"),
    [((768, 577), (768, 576)), ((4000, 3000), (840, 632)), ((120, 90), (120, 88))],
)
def test_matching_size(size: tuple[int, int], matching: tuple[int, int]) -> None:
    assert at_matching_size(Image.new("RGB", size)).size == matching
    mask = at_matching_size(Image.new("L", size, 255))
    assert mask.size == matching
    assert mask.getextrema() == (255, 255)
