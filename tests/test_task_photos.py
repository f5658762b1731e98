"""What tasks are learned from: photos, their objects, and the masks made of them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from realfill.canvas.objects import find_objects
from realfill.canvas.task_photos import find_photos
from realfill.errors import UserError

CPU = torch.device("cpu")


def test_masks_of_the_tasks(photos: Path) -> None:
    objects = photos.parent / "objects"
    generator = torch.Generator().manual_seed(0)
    for task in ("removal", "completion", "harmonization"):
        drawn = find_photos(photos, task, objects, CPU)
        for _ in range(10):
            random = np.random.default_rng(int(torch.randint(999, (1,), generator=generator)))
            photo, thing = drawn.crop_with_object(drawn.groups[0][0], 64, random)
            assert thing is not None and photo.shape == (64, 64, 3)
            hole = drawn.mask_for(thing, 64, random)
            assert hole.any()
            if task == "removal":
                assert not (hole & thing).any(), "the object itself stays"
            else:
                assert not (hole & ~thing).any()
    canvas = find_photos(photos, "reference", None, CPU).draw(2, 64, generator)
    assert canvas.images.shape == (2, 3, 64, 128)
    assert not canvas.masks[..., :64].any() and canvas.masks[..., 64:].any()


def test_annotations_of_coco_and_bsds(photos: Path, tmp_path: Path) -> None:
    from scipy.io import savemat

    paths = sorted(photos.iterdir())
    box = [40, 30, 79, 30, 79, 59, 40, 59]
    content = {
        "images": [{"id": 7, "file_name": "1.png", "height": 90, "width": 120}],
        "annotations": [
            {"image_id": 7, "segmentation": [[0, 0, 9, 0, 9, 9]], "iscrowd": 0},
            {"image_id": 7, "segmentation": [box], "iscrowd": 0},
            {"image_id": 7, "segmentation": {"counts": [1], "size": [90, 120]}, "iscrowd": 1},
        ],
    }
    (tmp_path / "coco.json").write_text(json.dumps(content))
    found = find_objects(tmp_path / "coco.json", paths)
    assert set(found) == {paths[1]}
    drawn = found[paths[1]]()
    assert drawn.shape == (90, 120) and drawn[5, 8] == 1 and drawn[80, 100] == 0
    assert (drawn[30:60, 40:80] == 2).all()

    segments = np.ones((90, 120), np.uint16)
    segments[30:60, 40:80] = 2
    cell = np.empty((1, 1), object)
    cell[0, 0] = {"Segmentation": segments}
    savemat(tmp_path / "2.mat", {"groundTruth": cell})
    found = find_objects(tmp_path, paths)
    assert set(found) == {paths[2]} and np.array_equal(found[paths[2]](), segments)

    (tmp_path / "coco.json").write_text("{}")
    (tmp_path / "2.mat").write_text("no segmentation")
    with pytest.raises(UserError, match=r"coco\.json"):
        find_objects(tmp_path / "coco.json", paths)
    with pytest.raises(UserError, match=r"2\.mat"):
        found[paths[2]]()


def test_harmonizing_leaves_what_was_not_pasted(photos: Path) -> None:
    batch = find_photos(photos, "harmonization", None, CPU).draw(4, 64, torch.Generator())
    assert batch.goals is not None
    changed = (batch.images != batch.goals).any(1, keepdim=True)
    assert changed.any()
    assert not (changed & (batch.masks == 0)).any()
