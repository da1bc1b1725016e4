"""Frechet distance between two sets of feature vectors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.float64]  # (n, features)


def frechet_distance(first: Features, second: Features) -> float:
    """Frechet distance of the normal distributions fitted to two sets of features: |m1 - m2|^2 + Tr(C1 + C2 - 2 (C1 C2)^(1/2)).

    Dowson and Landau 1982, eq. 4; used for generators by Heusel et al. 2017.

    Args:
        first, second: (n, features), at least two rows each; n may differ.

    Returns:
        A non-negative number in the squared unit of the features; 0 if means and covariances agree.
    """
    shift = first.mean(axis=0) - second.mean(axis=0)
    covariances = [np.atleast_2d(np.cov(features, rowvar=False)) for features in (first, second)]
    # The trace of a matrix square root is the sum of the square roots of the eigenvalues, so the root itself is not needed. Eigenvalues
    # of a product of two covariances are real and non-negative; rounding errors (small imaginary or negative values) are clipped.
    roots = np.sqrt(np.clip(np.linalg.eigvals(covariances[0] @ covariances[1]).real, 0.0, None))
    traces = float(np.trace(covariances[0]) + np.trace(covariances[1]))
    return max(0.0, float(shift @ shift) + traces - 2.0 * float(roots.sum()))
