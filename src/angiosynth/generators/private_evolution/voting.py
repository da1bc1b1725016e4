"""Votes of patients for candidates, as integers, so that their norm and the noise on their sum are exact."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Votes = NDArray[np.int64]  # (candidates,)


def vote(patient: NDArray[np.float64], candidates: NDArray[np.float64], count: int) -> Votes:
    """Return a patient's vote: 1 for each of the `count` candidates nearest to the patient, 0 for the others.

    The L2 norm of a vote is sqrt(count), or 0 if the patient's statistics are not finite; no content of a scan can make it larger.

    Args:
        patient: (k,) statistics of the patient.
        candidates: (n, k) statistics of the candidates, all finite.
        count: number of votes, at most n.
    """
    ballot = np.zeros(len(candidates), np.int64)
    if np.isfinite(patient).all():
        distances = np.square(candidates - patient).sum(axis=1)
        ballot[np.argsort(distances, kind="stable")[:count]] = 1
    return ballot


def tally(patients: NDArray[np.float64], candidates: NDArray[np.float64], count: int) -> Votes:
    """Return the sum of the votes of all patients (m, k). It is confidential: only the sum with noise may be released."""
    total = np.zeros(len(candidates), np.int64)
    for patient in patients:
        total += vote(patient, candidates, count)
    return total


def winners(noisy: Votes, deviation: float, count: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Select the candidates with the most votes, and weight them by their votes.

    Args:
        noisy: (n,) sum of votes with noise.
        deviation: standard deviation of the noise. It is subtracted from the votes, so that votes up to it, which noise alone may give,
            have no weight.
        count: number of winners.

    Returns:
        Indices (count,), most votes first, and weights (count,) of sum 1. Weights are equal if no candidate exceeds the deviation.
    """
    best = np.argsort(-noisy, kind="stable")[:count]
    excess = np.maximum(noisy[best] - deviation, 0.0)
    total = excess.sum()
    return best, excess / total if total > 0 else np.full(len(best), 1.0 / len(best))
