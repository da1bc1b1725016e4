"""The votes of patients: whole numbers, so that their norm and the noise on them are exact."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Votes = NDArray[np.int64]  # (candidates,)


def vote(patient: NDArray[np.float64], candidates: NDArray[np.float64], count: int) -> Votes:
    """One patient's vote: 1 for each of the `count` candidates nearest to him, 0 for the others.

    Its L2 norm is the root of `count`, or 0 for a patient whose statistics are not finite; nothing that a scan holds can make it greater.

    Args:
        patient: (k,) his statistics.
        candidates: (n, k) those of the candidates, all finite.
        count: at most n.
    """
    ballot = np.zeros(len(candidates), np.int64)
    if np.isfinite(patient).all():
        distances = np.square(candidates - patient).sum(axis=1)
        ballot[np.argsort(distances, kind="stable")[:count]] = 1
    return ballot


def tally(patients: NDArray[np.float64], candidates: NDArray[np.float64], count: int) -> Votes:
    """The sum of the votes of all patients (m, k). It is a secret: what leaves is the sum with noise."""
    total = np.zeros(len(candidates), np.int64)
    for patient in patients:
        total += vote(patient, candidates, count)
    return total


def winners(noisy: Votes, deviation: float, count: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The candidates with the most votes and their shares.

    Args:
        noisy: the sum of votes with noise.
        deviation: of the noise. What noise alone would give a candidate now and then does not count: votes up to it are dropped.
        count: of winners.

    Returns:
        Indices (count,), the best first, and weights (count,) of sum 1; equal ones where no candidate has more votes than the noise.
    """
    best = np.argsort(-noisy, kind="stable")[:count]
    excess = np.maximum(noisy[best] - deviation, 0.0)
    total = excess.sum()
    return best, excess / total if total > 0 else np.full(len(best), 1.0 / len(best))
