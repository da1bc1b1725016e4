"""Linkability: whether the nearest training patches of a synthetic patch belong to one patient (WP29 opinion 05/2014, section 2.2.2).

A plausible patch has neighbours from many patients. If the set can be linked to single people, the nearest training patches of a
synthetic patch belong to the same patient more often than those of a real patch of somebody who was not trained on. The statistic is the
excess of this agreement of synthetic patches over that of held-out patients' patches: 0 for no more agreement than any real patch has,
at most 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from angiosynth.privacy.nearest import Points, nearest

NEIGHBOURS = 5


@dataclass(frozen=True)
class PatientPoints:
    """Real patches as points (n, coordinates), and the number of each patch's patient (n,)."""

    points: Points
    patient: NDArray[np.int64]


def neighbour_agreement(queries: Points, training: PatientPoints) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Compute the agreement of the nearest training patches of each query in their patient.

    Args:
        queries: (n, coordinates).
        training: training patients' patches.

    Returns:
        Share (n,) of pairs among the NEIGHBOURS nearest training patches that belong to one patient, and the patient (n,) of the nearest.
    """
    patients = training.patient[nearest(queries, training.points, min(NEIGHBOURS, len(training.points)))[1]]
    k = patients.shape[1]
    # Number of ordered pairs of different neighbours that belong to one patient.
    same = (patients[:, :, None] == patients[:, None, :]).sum(axis=(1, 2)) - k
    return same / max(1, k * (k - 1)), patients[:, 0]


@dataclass(frozen=True)
class HeldOut:
    """Numbers (n,) of the people of n real patches that were not trained on, and their `neighbour_agreement` with training patches."""

    person: NDArray[np.int64]
    agreement: NDArray[np.float64]
    patient: NDArray[np.int64]

    @classmethod
    def of(cls, held_out: PatientPoints, training: PatientPoints) -> HeldOut:
        """Compute the agreement of held-out people's patches."""
        return cls(held_out.patient, *neighbour_agreement(held_out.points, training))


def linkage_statistics(synthetic: Points, held_out: HeldOut, training: PatientPoints, bootstrap: int, seed: int) -> dict[str, Any]:
    """Compare the agreement of synthetic patches with that of held-out patients' real patches.

    Args:
        synthetic: (n, coordinates).
        held_out: the agreement of held-out patients' patches.
        training: training patients' patches.
        bootstrap: number of resamples of synthetic patches and of held-out patients.
        seed: seed of the resamples.

    Returns:
        agreement: mean over synthetic patches. held_out: mean over held-out patients. excess: their difference. excess_low, excess_high:
        its 95% bootstrap interval. p: share of resamples without an excess, 1 for a single held-out patient. chance: agreement of
        neighbours drawn at random. top_share, top_share_held_out: share of queries whose nearest patch belongs to the most frequent
        patient.
    """
    agreement, patient = neighbour_agreement(synthetic, training)
    # The unit is the person: each held-out patient has the same weight, whatever the number of patches.
    names = np.unique(held_out.person)
    means = np.array([held_out.agreement[held_out.person == name].mean() for name in names])
    rng = np.random.default_rng(seed)
    gaps = [_resampled_mean(agreement, rng) - _resampled_mean(means, rng) for _ in range(bootstrap)]
    excess = float(agreement.mean() - means.mean())
    low, high = np.percentile(gaps, (2.5, 97.5)) if len(names) > 1 else (-1.0, 1.0)
    shares = np.bincount(training.patient) / len(training.patient)
    return {
        "agreement": float(agreement.mean()),
        "held_out": float(means.mean()),
        "excess": excess,
        "excess_low": min(float(low), excess),
        "excess_high": max(float(high), excess),
        "p": (1 + sum(gap <= 0 for gap in gaps)) / (1 + bootstrap) if len(names) > 1 else 1.0,
        "chance": float((shares**2).sum()),
        "top_share": float(np.bincount(patient).max() / len(patient)),
        "top_share_held_out": float(np.bincount(held_out.patient).max() / len(held_out.patient)),
    }


def _resampled_mean(values: NDArray[np.float64], rng: np.random.Generator) -> float:
    return float(values[rng.integers(len(values), size=len(values))].mean())
