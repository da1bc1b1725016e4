"""Fidelity and diversity of a set in features, and statistics of its vessels, reported beside its leakage."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from angiosynth.arrays import LabelPatches
from angiosynth.privacy.nearest import Points, nearest

K = 5  # neighbours, as in arXiv:2002.09797


def manifold_scores(real: Points, synthetic: Points, k: int = K) -> dict[str, float]:
    """Compute precision and recall (arXiv:1904.06991, NeurIPS 2019, eq. 3), density and coverage (arXiv:2002.09797, ICML 2020, eqs. 4, 6).

    The ball of a point has the distance to its k-th neighbour in the same set as radius. Precision: share of synthetic points in at least
    one real ball. Recall: share of real points in at least one synthetic ball. Density: number of real balls that contain a synthetic
    point, divided by k, mean over synthetic points; it can exceed 1. Coverage: share of real balls that contain a synthetic point.

    Args:
        real: (n, features), n > k.
        synthetic: (m, features), m > k. All four scores depend on n and m, so sets are comparable only for equal numbers.
        k: the neighbour whose distance is the radius.
    """
    real_radius = nearest(real, real, k + 1)[0][:, k]  # the first neighbour is the point itself
    synthetic_radius = nearest(synthetic, synthetic, k + 1)[0][:, k]
    within_real = np.zeros(len(synthetic))
    covered = np.zeros(len(real), np.bool_)
    recalled = np.zeros(len(real), np.bool_)
    for start in range(0, len(synthetic), 512):
        rows = slice(start, start + 512)
        distance = _distances(synthetic[rows], real)
        inside = distance <= real_radius
        within_real[rows] = inside.sum(axis=1)
        covered |= inside.any(axis=0)
        recalled |= (distance <= synthetic_radius[rows, None]).any(axis=0)
    return {
        "precision": float((within_real > 0).mean()),
        "recall": float(recalled.mean()),
        "density": float(within_real.mean() / k),
        "coverage": float(covered.mean()),
    }


def vessel_statistics(label: LabelPatches) -> dict[str, float]:
    """Measure the fraction, the calibre and the number of pieces of vessels in patches.

    Args:
        label: (n, x, y), 0 or 1.

    Returns:
        fraction: fraction of vessel pixels. calibre_px: greatest width of a piece in pixels, twice the greatest distance of its pixels
        to the background minus one, mean over pieces. components: pieces (8-connected) per patch. empty: share of patches without vessel.
    """
    # Stack all patches into one picture, separated by background, so that each function is called once instead of once per patch.
    padded = np.pad(np.asarray(label, np.uint8), ((0, 0), (1, 1), (1, 1)))
    picture = padded.reshape(-1, padded.shape[2])
    pieces, count = ndimage.label(picture, np.ones((3, 3)))
    depth = ndimage.distance_transform_edt(picture)
    widest = np.atleast_1d(ndimage.maximum(depth, pieces, np.arange(1, count + 1))) if count else np.zeros(0)
    return {
        "fraction": float(label.mean()),
        "calibre_px": float((2.0 * widest - 1.0).mean()) if count else 0.0,
        "components": count / len(label),
        "empty": float((label.reshape(len(label), -1).max(axis=1) == 0).mean()),
    }


def _distances(first: Points, second: Points) -> NDArray[np.float64]:
    """Root mean square distances (n, m)."""
    squares = (first.astype(np.float64) ** 2).sum(axis=1)[:, None] + (second.astype(np.float64) ** 2).sum(axis=1)
    products = first.astype(np.float64) @ second.astype(np.float64).T
    distances: NDArray[np.float64] = np.sqrt(np.clip(squares - 2.0 * products, 0.0, None) / first.shape[1])
    return distances
