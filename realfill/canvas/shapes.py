"""Random views, colours and shapes: what a task is learned on."""

import cv2
import numpy as np

BEND, SHIFT, ZOOM = 0.1, 0.15, 0.2
"""Of a view's side: how far corners and place move, and the logarithm of its size."""
GAMMA, GAIN = 0.3, 0.15
CORNERS = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) - 0.5
CROPPED = 0.85
"""The least side of a crop, of the photo's short side."""


def random_views(
    photo: np.ndarray, size: int, random: np.random.Generator, count: int
) -> list[np.ndarray]:
    """Return `count` views of one place of a photo, through homographies and in other colours.

    Photo and views are uint8 `(H, W, 3)`, the views squares of `size` pixels.
    """
    sides = np.array(photo.shape[1::-1])
    side = min(sides) * random.uniform(CROPPED, 1)
    middle = sides / 2 + random.uniform(-0.5, 0.5, 2) * (sides - side)
    views = []
    for _ in range(count):
        moved = CORNERS * np.exp(random.uniform(-ZOOM, ZOOM)) + random.uniform(-SHIFT, SHIFT, 2)
        moved += random.uniform(-BEND, BEND, (4, 2))
        inside = (middle + side * moved).clip(0, sides - 1)
        views.append(recolour(cut(photo, inside, size), random))
    return views


def random_crop(photo: np.ndarray, size: int, random: np.random.Generator) -> np.ndarray:
    """Return a square of a photo, uint8 `(H, W, C)`, resized to `size` pixels."""
    [crop] = same_crops([photo], size, random)
    return crop


def same_crops(
    photos: list[np.ndarray], size: int, random: np.random.Generator
) -> list[np.ndarray]:
    """Return the same square of pictures `(H, W, C)` of one size, the first one a photo.

    The others are label maps, which are not interpolated.
    """
    sides = np.array(photos[0].shape[1::-1])
    side = min(sides) * random.uniform(CROPPED, 1)
    middle = sides / 2 + random.uniform(-0.5, 0.5, 2) * (sides - side)
    inside = middle + side * CORNERS
    return [cut(each, inside, size, labels=number > 0) for number, each in enumerate(photos)]


def cut(photo: np.ndarray, corners: np.ndarray, size: int, labels: bool = False) -> np.ndarray:
    """Bring the quadrangle `corners` `(4, 2)` of a photo to a square of `size` pixels."""
    ends = (CORNERS + 0.5) * size
    matrix = cv2.getPerspectiveTransform(corners.astype(np.float32), ends.astype(np.float32))
    blur = float(np.linalg.norm(corners[1] - corners[0])) / size
    if blur > 1 and not labels:  # a warp has no area average
        photo = cv2.GaussianBlur(photo, (0, 0), 0.45 * blur)
    how = cv2.INTER_NEAREST if labels else cv2.INTER_LINEAR
    return cv2.warpPerspective(
        photo, matrix, (size, size), flags=how, borderMode=cv2.BORDER_REFLECT
    )


def recolour(photo: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Change the exposure and the white balance of a photo, uint8 `(H, W, 3)`."""
    gain = np.exp(random.uniform(-GAIN, GAIN, 3))
    changed = (photo / 255) ** np.exp(random.uniform(-GAMMA, GAMMA)) * gain
    return (changed.clip(0, 1) * 255).round().astype(np.uint8)


def random_blob(size: int, random: np.random.Generator) -> np.ndarray:
    """Return a shape like an object's, bool `(size, size)`: the hull of points around a place."""
    middle = random.uniform(0.25, 0.75, 2)
    reach = random.uniform(0.1, 0.3, 2)
    points = (middle + reach * random.uniform(-1, 1, (12, 2))) * size
    blob = np.zeros((size, size), np.uint8)
    cv2.fillConvexPoly(blob, cv2.convexHull(points.astype(np.int32)), 1)
    return blob > 0


def shifted(shape: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return a shape `(S, S)` moved by up to half of the picture; what leaves it is lost."""
    size = len(shape)
    right, down = random.integers(-size // 2, size // 2 + 1, 2)
    moved = cv2.warpAffine(
        shape.astype(np.uint8), np.array([[1, 0, right], [0, 1, down]], np.float32), (size, size)
    )
    return moved > 0
