"""Completing with pieces of the references: layout, pieces, joining, origin, judge."""

import numpy as np
import pytest
import scipy.sparse
from PIL import Image
from scipy.sparse.linalg import spsolve

from benchmark.psnr import psnr_inside
from realfill.errors import UserError
from realfill.exemplars.alignment import scaled_panel
from realfill.exemplars.copying import copy_pieces
from realfill.exemplars.fill import complete_from_exemplars
from realfill.exemplars.judge import edge_strangeness
from realfill.exemplars.panels import Panel, draw, lay_out
from realfill.exemplars.pieces import Pieces, cut_pieces, settle
from realfill.exemplars.sources import doubtful_panel, find_sources
from realfill.images.blend import feather, shrink_mask
from realfill.images.seams import LARGEST_STEP, correction, join
from realfill.provenance import GEOMETRY, SAMPLED, TARGET, describe, trace
from realfill.scene import Scene
from tests.conftest import draw_photo
from tests.helpers import draw_texture


def make_scene(shift: int = 30) -> tuple[Scene, Image.Image]:
    """Return a scene whose reference is the same wall, moved by `shift` pixels, and the truth."""
    wall = Image.fromarray((draw_texture(3) * 255).astype(np.uint8))
    truth = wall.crop((200, 200, 440, 380))
    reference = wall.crop((200 + shift, 190, 440 + shift, 370))
    mask = Image.new("L", truth.size, 0)
    mask.paste(255, (90, 60, 150, 120))
    target = Image.composite(Image.new("RGB", truth.size), truth, mask)
    return Scene("wall", {"moved.png": reference}, target, mask), truth


def test_what_a_reference_shows_is_copied_from_it() -> None:
    scene, truth = make_scene()
    hole = np.asarray(scene.mask) > 127
    [(index, filling)] = complete_from_exemplars(scene, None, [0], 0)
    assert index == 0
    image = np.asarray(filling.image)
    assert psnr_inside(image, np.asarray(truth), hole) > 30
    assert filling.sources[filling.which[100, 120]] == "moved.png"
    assert (filling.which[~hole] == -1).all()
    outside = np.asarray(feather(scene.mask)) == 0
    assert np.array_equal(image[outside], np.asarray(scene.target)[outside])


def test_a_completion_depends_on_its_seed_and_index_alone() -> None:
    scene, _ = make_scene()
    both = {i: filling for i, filling in complete_from_exemplars(scene, None, [1, 4], 7)}
    [(_, alone)] = complete_from_exemplars(scene, None, [4], 7)
    assert np.array_equal(both[4].image, alone.image)
    assert both[4].strangeness == alone.strangeness


def test_a_reference_of_another_place_is_no_source() -> None:
    scene, _ = make_scene()
    strange = Image.fromarray((draw_texture(8)[300:480, 100:340] * 255).astype(np.uint8))
    blue = Image.new("RGB", (240, 180), (20, 40, 220))
    references = scene.references | {"strange.png": strange, "blue.png": blue}
    found = find_sources(Scene("walls", references, scene.target, scene.mask))
    names = [source.name for source in found]
    assert names[0] == "moved.png"
    assert "blue.png" not in names


@pytest.mark.parametrize(
    "box",
    [(100, 70, 101, 71), (0, 0, 240, 170), (6, 6, 234, 174), (0, 0, 120, 180)],
    ids=["one pixel", "hardly anything known", "larger than every source", "outpainting"],
)
@pytest.mark.parametrize("references", [0, 1])
def test_unusual_holes_are_filled(box: tuple[int, int, int, int], references: int) -> None:
    photo, small = draw_photo(0, 240, 180), draw_photo(1, 80, 64)
    mask = Image.new("L", photo.size, 0)
    mask.paste(255, box)
    target = Image.composite(Image.new("RGB", photo.size, "magenta"), photo, mask)
    scene = Scene("unusual", {"small.png": small} if references else {}, target, mask)
    if not references and box in ((0, 0, 240, 170), (6, 6, 234, 174)):
        with pytest.raises(UserError, match="nothing to copy from"):
            list(complete_from_exemplars(scene, None, [0], 0))
        return
    [(_, filling)] = complete_from_exemplars(scene, None, [0], 0)
    image, hole = np.asarray(filling.image).astype(int), np.asarray(mask) > 127
    assert image.shape == (180, 240, 3)
    magenta = np.abs(image - (255, 0, 255)).sum(-1) < 40
    assert not magenta[hole].any(), "nothing of what the hole held is left"


def test_panels_show_a_photo_as_their_matrix_says() -> None:
    photo = np.asarray(draw_photo(2, 160, 120))
    shifted = np.array([[1, 0, 20], [0, 1, 10], [0, 0, 1]])
    pixels, inside = draw(Panel("a", photo, shifted, (100, 80)), 1.0)
    assert np.array_equal(pixels, photo[10:90, 20:120])
    assert inside.all()
    outside = draw(Panel("a", photo, shifted, (160, 120)), 1.0)[1]
    assert outside[:109, :139].all()
    assert not outside[111:].any()
    assert not outside[:, 141:].any()


def test_pieces_are_copied_from_the_photo_at_its_full_size() -> None:
    """At half the size on the canvas; the target's pixels come from the photo's own."""
    photo = np.asarray(draw_photo(3, 400, 320))
    target = np.zeros((160, 200, 3), np.uint8)
    hole = np.zeros((160, 200), bool)
    hole[40:80, 60:120] = True
    panels = [
        Panel(TARGET, target, np.eye(3), (200, 160), ~hole),
        Panel("large.png", photo, np.eye(3), (400, 320)),
    ]
    canvas = lay_out(panels, 160 * 200 * 5 / 4 / 1e6)
    assert canvas.boxes[0][2:] == (100, 80), "half of the target's size"
    left, top, _, _ = canvas.boxes[1]
    small = np.asarray(shrink_mask(Image.fromarray(hole), canvas.boxes[0][2:])) > 0
    offset = np.array([[top + 15, left + 25]])
    pieces = Pieces(np.where(small, 0, -1).astype(np.int32), offset)
    picture, labels, which = copy_pieces(target, hole, canvas, pieces)
    assert np.array_equal(picture[hole], photo[70:110, 110:170].reshape(-1, 3))
    assert (picture[~hole] == 0).all()
    assert (labels[hole] == 0).all()
    assert (which[hole] == 1).all()


def test_what_geometry_shows_doubtfully_is_copied_from_right_there_if_it_looks_alike() -> None:
    scene, truth = make_scene()
    target, hole = np.asarray(scene.target), np.asarray(scene.mask) > 127
    seen = hole.copy()
    seen[:, 120:] = False
    panels = [
        Panel(TARGET, target, np.eye(3), scene.target.size, ~hole),
        doubtful_panel(np.asarray(truth), seen),
        scaled_panel("moved.png", np.asarray(scene.references["moved.png"]), None, truth.size, 1.0),
    ]
    canvas = lay_out(panels, 1.0)
    pieces = cut_pieces(canvas, hole, np.asarray(truth))
    picture, _, which = copy_pieces(target, hole, canvas, pieces)
    assert (which[64:116, 94:112] == 1).all(), "away from the edge of what geometry shows"
    assert (which[hole & ~seen] != 1).all()
    assert psnr_inside(picture, np.asarray(truth), hole) > 40


def test_labels_settle_where_they_are_cheap_and_ignore_specks() -> None:
    import torch

    costs = torch.full((2, 20, 20), 0.01)
    costs[0, :, :10] = 0
    costs[1, :, 10:] = 0
    costs[0, 5, 4], costs[1, 5, 4] = 0.01, 0.0
    labels = settle(costs)
    assert (labels[:, :10] == 0).all()
    assert (labels[:, 10:] == 1).all()


def test_joining_solves_poisson_s_equation() -> None:
    """Beside a sparse direct solver, on a picture with two pieces of another exposure."""
    picture = np.asarray(draw_photo(4, 48, 40)).copy()
    pieces = np.zeros((40, 48), np.int32)
    pieces[10:30, 8:24], pieces[10:30, 24:40] = 1, 2
    picture[pieces == 1] = picture[pieces == 1] * 0.95
    picture[pieces == 2] = (picture[pieces == 2] * 0.9 + 12).clip(0, 255)
    ours = correction(picture, pieces)
    values = picture.astype(float) / 255
    inner = np.argwhere(pieces > 0)
    number = {tuple(place): i for i, place in enumerate(inner)}
    hold = 1 / (0.3**2 * len(inner))
    matrix = scipy.sparse.lil_matrix((len(inner), len(inner)))
    wanted = np.zeros((len(inner), 3))
    for i, (y, x) in enumerate(inner):
        matrix[i, i] = 4 + hold
        wanted[i] += hold * values[y, x]
        for other in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
            step = values[y, x] - values[other]
            if pieces[other] != pieces[y, x]:
                step = step - step.clip(-LARGEST_STEP, LARGEST_STEP)
            wanted[i] += step
            if other in number:
                matrix[i, number[other]] = -1
            else:
                wanted[i] += values[other]
    exact = spsolve(matrix.tocsr(), wanted) - values[pieces > 0]
    assert np.abs(exact).max() > 0.05
    assert np.abs(ours[pieces > 0] / 255 - exact).mean() < 0.05 * np.abs(exact).mean()
    assert (ours[pieces == 0] == 0).all()


def test_joining_takes_out_a_frame_of_colour_and_touches_nothing_outside() -> None:
    truth = np.asarray(draw_photo(5, 120, 90))
    hole = np.zeros((90, 120), bool)
    hole[30:60, 40:80] = True
    darker = truth.copy()
    darker[hole] = truth[hole] - np.minimum(truth[hole], 15)
    joined = join(darker, hole, np.zeros(hole.shape, int))
    assert np.array_equal(joined[~hole], truth[~hole])
    before, after = (np.abs(p[hole].astype(int) - truth[hole]).mean() for p in (darker, joined))
    assert after < before / 2


def test_provenance_counts_what_is_in_the_hole() -> None:
    hole = np.zeros((10, 10), bool)
    hole[:, :5] = True
    rest = np.zeros((10, 10), bool)
    rest[:5, :5] = True
    which = np.where(rest, 1, -1)
    which[0, :5] = 0
    which[1, :5] = 2
    made = trace(hole, rest, [TARGET, "a.png", GEOMETRY], which)
    assert made.shares() == {GEOMETRY: 0.6, "a.png": 0.3, TARGET: 0.1}
    assert describe(made.shares()).startswith("60% ")
    assert made.draw().size == (10, 10)
    assert trace(hole, rest, SAMPLED).shares() == {GEOMETRY: 0.5, SAMPLED: 0.5}


def test_the_judge_tells_the_truth_from_other_content() -> None:
    scene, truth = make_scene()
    hole = np.asarray(scene.mask) > 127
    photos = [np.asarray(photo) for photo in scene.references.values()]
    right = np.asarray(truth)
    moved = right.copy()
    moved[60:120, 90:150] = right[60:120, 20:80]
    strangeness = [edge_strangeness(image, hole, photos) for image in (right, moved)]
    assert strangeness[0] < 0.7 * strangeness[1]
    inverted = np.where(hole[..., None], 255 - right, right)
    assert edge_strangeness(right, hole, []) < edge_strangeness(inverted, hole, [])
