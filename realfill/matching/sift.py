"""SIFT from OpenCV, compared as RootSIFT (Arandjelović and Zisserman, 2012): no weights needed."""

from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from realfill.matching.base import Matches

MOST_FEATURES = 4096
LEAST_CONTRAST = 0.04
"""OpenCV's own. Structure from motion wants weaker features, too."""


class Features(NamedTuple):
    """The keypoints of a photo."""

    points: np.ndarray
    """`(N, 2)` float32: x, y in pixels."""
    descriptors: np.ndarray
    """`(N, 128)` float32 of length 1."""


class Sift:
    """Mutual nearest neighbours; confidence is 1 less the ratio of the two nearest distances."""

    name = "sift"
    default_threshold = 0.2
    """Lowe's ratio test at 0.8."""

    def __init__(self, least_contrast: float = LEAST_CONTRAST) -> None:
        """Make OpenCV's detector."""
        self.detector = cv2.SIFT.create(MOST_FEATURES, contrastThreshold=least_contrast)
        self.settings = {"matcher": "sift", "features": MOST_FEATURES, "opencv": cv2.__version__}
        if least_contrast != LEAST_CONTRAST:
            self.settings["contrast"] = least_contrast

    def extract(self, image: Image.Image) -> Features:
        """Find the features of an RGB image. One without texture has none."""
        keypoints, values = self.detector.detectAndCompute(np.asarray(image.convert("L")), None)
        if not keypoints:
            return Features(np.empty((0, 2), np.float32), np.empty((0, 128), np.float32))
        points = np.array([keypoint.pt for keypoint in keypoints], np.float32)
        return Features(points, np.sqrt(values / values.sum(axis=1, keepdims=True).clip(1e-8)))

    def match(self, photo: Features, references: list[Features]) -> list[Matches]:
        """Match one photo with each of several references."""
        return [match_pair(photo, reference) for reference in references]


def match_pair(photo: Features, reference: Features) -> Matches:
    """Return the mutual nearest neighbours of two photos' features."""
    if min(len(photo.points), len(reference.points)) < 2:
        return Matches.none()
    similarity = photo.descriptors @ reference.descriptors.T
    nearest = similarity.argmax(axis=1)
    mutual = np.flatnonzero(similarity.argmax(axis=0)[nearest] == np.arange(len(nearest)))
    nearest = nearest[mutual]
    best = similarity[mutual, nearest]
    similarity[mutual, nearest] = -1
    second_best = similarity[mutual].max(axis=1)
    first, second = (np.sqrt(np.maximum(2 - 2 * those, 0)) for those in (best, second_best))
    confidence = 1 - first / np.maximum(second, 1e-8)
    return Matches(photo.points[mutual], reference.points[nearest], confidence)
