"""The epipolar geometry of two photos of one scene, from correspondences."""

import cv2
import numpy as np

NOISE = 1.5
"""Pixels: how far MAGSAC lets a correspondence of the known region lie from the geometry."""
CONFIDENCE, MOST_ITERATIONS = 0.9999, 10_000
FEWEST_MATCHES = 20
"""A geometry through fewer correspondences may be chance: any eight have one."""


def fundamental_matrix(
    points: np.ndarray, reference_points: np.ndarray
) -> tuple[np.ndarray | None, np.ndarray]:
    """Find the fundamental matrix F of correspondences (x, y in pixels, `(N, 2)` each) by MAGSAC.

    Returns F `(3, 3)`, with reference' F photo = 0 for homogeneous points, and the bool `(N,)` of
    the correspondences that agree with it. F is None if fewer than `FEWEST_MATCHES` agree.
    """
    agreeing = np.zeros(len(points), bool)
    if len(points) < FEWEST_MATCHES:
        return None, agreeing
    try:
        matrix, inliers = cv2.findFundamentalMat(
            points, reference_points, cv2.USAC_MAGSAC, NOISE, CONFIDENCE, MOST_ITERATIONS
        )
    except cv2.error:
        # Without any parallax OpenCV 5 may find no model, and fails.
        return None, agreeing
    if matrix is None or inliers.sum() < FEWEST_MATCHES:
        return None, agreeing
    return matrix[:3], inliers.ravel() > 0


def sampson_distance(
    matrix: np.ndarray, points: np.ndarray, reference_points: np.ndarray
) -> np.ndarray:
    """Return how far correspondences `(N, 2)` lie from the geometry F, in pixels, `(N,)`.

    This is the first-order distance to the nearest pair of points that fits exactly (Hartley and
    Zisserman, section 11.4.3).
    """
    photo = np.column_stack([points, np.ones(len(points))])
    reference = np.column_stack([reference_points, np.ones(len(points))])
    lines, lines_back = photo @ matrix.T, reference @ matrix
    residual = np.abs((reference * lines).sum(axis=1))
    slopes = np.square(lines[:, :2]).sum(axis=1) + np.square(lines_back[:, :2]).sum(axis=1)
    return residual / np.sqrt(slopes.clip(1e-12))
