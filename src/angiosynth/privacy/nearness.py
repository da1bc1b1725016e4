"""Are synthetic patches nearer to training patients than to as many others? A half is what chance gives.

The expected answer over all ways to draw as many people of the greater side as the smaller has is a closed form, so nothing is drawn. Its
p is that of a permutation test over people: if the set knows nobody, whoever was trained on could as well be among the others.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import comb


def nearer_to_training(
    training: NDArray[np.floating[Any]], others: NDArray[np.floating[Any]], resamples: int, seed: int
) -> dict[str, float]:
    """Share of synthetic patches that lie nearer to training patients than to as many others.

    Args:
        training: (n, m) distance of each synthetic patch to the nearest patch of each training patient.
        others: (n, k), the same of people who were not trained on.
        resamples: of people, for the interval, and permutations for p.
        seed: of both.

    Returns:
        nearer and its 95% bootstrap interval over patients, _low and _high (0..1 where a side has one patient); nearer_p, one-sided.
    """
    rng = np.random.default_rng(seed)
    m, k = training.shape[1], others.shape[1]
    people = np.argsort(np.concatenate([training, others], axis=1), axis=1, kind="stable")  # of each patch, the nearest first
    is_member = np.arange(m + k) < m
    nearer = _share(is_member[people], m, k)
    permuted = [_share(rng.permutation(is_member)[people], m, k) for _ in range(resamples)]
    p = (1 + sum(share >= nearer - 1e-12 for share in permuted)) / (1 + resamples)
    count = min(m, k)

    def resampled() -> float:
        near, far = (side[:, rng.choice(side.shape[1], count)].min(axis=1) for side in (training, others))
        return float((near < far).mean() + 0.5 * (near == far).mean())

    low, high = np.percentile([resampled() for _ in range(resamples)], (2.5, 97.5)) if count > 1 else (0.0, 1.0)
    return {"nearer": nearer, "nearer_low": min(float(low), nearer), "nearer_high": max(float(high), nearer), "nearer_p": p}


def _share(member: NDArray[np.bool_], m: int, k: int) -> float:
    """The share from whether the nearest, second, ... person of each patch (n, m + k) is a member.

    Let i people of the greater side, of N, be nearer than the nearest of the smaller side, which has c. The c drawn of the N hold none of
    these i with probability C(N - i, c) / C(N, c).
    """
    greater = member if m >= k else ~member
    before = (~greater).argmax(axis=1)
    missed = comb(max(m, k) - before, min(m, k)) / comb(max(m, k), min(m, k))
    return float((1.0 - missed).mean() if m >= k else missed.mean())
