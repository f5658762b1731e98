"""Matches of many photos: which of them are matched with one another."""

from PIL import Image

from realfill.geometry.features import MOST_MATCHED, find_correspondences
from tests.helpers import draw_texture
from tests.rendered import to_image

SIDE = 160


def crop(seed: int, shift: int) -> Image.Image:
    return to_image(draw_texture(seed)[shift : shift + SIDE, 20 : 20 + SIDE])


def test_of_many_references_those_that_match_best_are_matched_with_one_another() -> None:
    target, mask = crop(1, 100), Image.new("L", (SIDE, SIDE))
    mask.paste(255, (60, 60, 100, 100))
    near = {f"near {shift}": crop(1, 100 + shift) for shift in range(-7, 8) if shift}
    others = {"other place": crop(2, 100), "far": crop(1, 100 + SIDE // 2), **near}
    found = find_correspondences(target, mask, others)
    assert found.with_target.keys() == others.keys()
    assert found.with_target["near 1"] > 3 * found.with_target["other place"]
    assert len(found.names) == len(found.sizes) - 1 == MOST_MATCHED < len(others)
    assert not {"other place", "far"} & set(found.names)
    assert found.names == [name for name in others if name in found.names], "in their order"
    count = MOST_MATCHED + 1
    assert found.pairs.keys() == {(a, b) for a in range(count) for b in range(a + 1, count)}

    few = {name: others[name] for name in ("near 2", "other place", "near 3")}
    again = find_correspondences(target, mask, few)
    assert again.names == list(few)
    place = found.names.index("near 2") + 1
    assert (again.places(0, 1)[0].shape) == found.places(0, place)[0].shape
