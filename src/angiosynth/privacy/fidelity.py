"""Fidelity of a set, to hold beside its leakage: likeness and variety in features, and statistics of its vessels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from angiosynth.arrays import LabelPatches
from angiosynth.privacy.nearest import Points, nearest

K = 5  # neighbours, as in the paper on density and coverage


def manifold_scores(real: Points, synthetic: Points, k: int = K) -> dict[str, float]:
    """Precision and recall (NeurIPS 2019, arXiv:1904.06991, eq. 3), density and coverage (ICML 2020, arXiv:2002.09797, eqs. 4 and 6).

    A point's ball reaches to its k-th neighbour in its own set. Precision: share of synthetic points in some real ball. Recall: share
    of real points in some synthetic ball. Density: real balls that hold a synthetic point, divided by k, mean over synthetic points;
    it may pass 1. Coverage: share of real balls that hold a synthetic point.

    Args:
        real: (n, features), more than k.
        synthetic: (m, features), more than k; best as many as real, since all four depend on the numbers of points.
        k: the neighbour that a ball reaches to.
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
    """Measure how much vessel a patch holds, how wide it is and in how many pieces.

    Args:
        label: (n, x, y), 0 or 1.

    Returns:
        fraction: share of pixels. calibre_px: mean over pieces of their greatest width in pixels, twice the greatest distance to a
        pixel outside the vessel, less one. components: pieces (8-connected) a patch. empty: share of patches without vessel.
    """
    # All patches in one picture, with an empty line between them: one call of each function instead of one a patch.
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
    """(n, m) root mean squares."""
    squares = (first.astype(np.float64) ** 2).sum(axis=1)[:, None] + (second.astype(np.float64) ** 2).sum(axis=1)
    products = first.astype(np.float64) @ second.astype(np.float64).T
    distances: NDArray[np.float64] = np.sqrt(np.clip(squares - 2.0 * products, 0.0, None) / first.shape[1])
    return distances
