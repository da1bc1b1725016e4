"""Which patient does a synthetic patch come from? Linkage (WP29 opinion 05/2014, section 2.2.2) by nearest training patches.

If the set leads back to persons, the nearest training patches of a synthetic one belong to the same patient more often than those
of a real patch of somebody who was not trained on at all.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from angiosynth.privacy.nearest import Points, nearest

NEIGHBOURS = 5


def agreement(queries: Points, training: Points, patient: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """How far the nearest training patches of each query agree in their patient, and whose the nearest is.

    Args:
        queries: (n, coordinates).
        training: (m, coordinates).
        patient: (m,) numbers of training patients.

    Returns:
        (n,) share of the pairs among the 5 nearest that are of one patient, and (n,) the patient of the nearest.
    """
    owners = patient[nearest(queries, training, min(NEIGHBOURS, len(training)))[1]]
    k = owners.shape[1]
    same = (owners[:, :, None] == owners[:, None, :]).sum(axis=(1, 2)) - k
    return same / max(1, k * (k - 1)), owners[:, 0]


def linkage(
    synthetic: Points,
    held_out: Points,
    held_out_patient: NDArray[np.int64],
    training: Points,
    patient: NDArray[np.int64],
    bootstrap: int,
    seed: int,
) -> dict[str, Any]:
    """Agreement of synthetic patches against that of test patients' real patches.

    Returns:
        agreement (synthetic), held_out (the same of test patients' patches), excess (the difference) with _low and _high, 95%
        bootstrap over synthetic patches and test patients; chance (of equal shares); top_share and top_share_held_out, the share of
        queries that lead to the patient that most lead to.
    """
    own, nearest_own = agreement(synthetic, training, patient)
    real, nearest_real = agreement(held_out, training, patient)
    names = np.unique(held_out_patient)
    means = np.array([real[held_out_patient == name].mean() for name in names])
    rng = np.random.default_rng(seed)
    gaps = [_resampled(own, rng) - _resampled(means, rng) for _ in range(bootstrap)]
    excess = float(own.mean() - means.mean())
    low, high = np.percentile(gaps, (2.5, 97.5)) if len(names) > 1 else (-1.0, 1.0)
    shares = np.bincount(patient) / len(patient)
    return {
        "agreement": float(own.mean()),
        "held_out": float(means.mean()),
        "excess": excess,
        "excess_low": min(float(low), excess),
        "excess_high": max(float(high), excess),
        "chance": float((shares**2).sum()),
        "top_share": float(np.bincount(nearest_own).max() / len(nearest_own)),
        "top_share_held_out": float(np.bincount(nearest_real).max() / len(nearest_real)),
    }


def _resampled(values: NDArray[np.float64], rng: np.random.Generator) -> float:
    return float(values[rng.integers(len(values), size=len(values))].mean())
