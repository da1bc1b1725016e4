"""The Frechet distance of two sets by their features."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.float64]  # (n, features)


def frechet_distance(first: Features, second: Features) -> float:
    """|m1 - m2|^2 + Tr(C1 + C2 - 2 (C1 C2)^(1/2)) of two sets of features (Dowson and Landau 1982, eq. 4; Heusel et al. 2017).

    Args:
        first, second: (n, features), at least two rows each; n may differ.

    Returns:
        At least 0, in the features' unit squared; 0 where means and covariances agree.
    """
    shift = first.mean(axis=0) - second.mean(axis=0)
    covariances = [np.atleast_2d(np.cov(features, rowvar=False)) for features in (first, second)]
    # The trace of the matrix square root is the sum of the roots of the eigenvalues. Those of a product of two covariances are real and not
    # negative; rounding leaves small imaginary and negative parts.
    roots = np.sqrt(np.clip(np.linalg.eigvals(covariances[0] @ covariances[1]).real, 0.0, None))
    traces = float(np.trace(covariances[0]) + np.trace(covariances[1]))
    return max(0.0, float(shift @ shift) + traces - 2.0 * float(roots.sum()))
