"""Which patient does a synthetic patch come from? Linkage by nearest training patches (WP29 opinion 05/2014, section 2.2.2).

Patches that merely look like vessels have neighbours from many patients. If the set leads to one person, the nearest training
patches of a synthetic patch belong to the same patient more often than those of a real patch of somebody who was not trained on. The
statistic is that difference of agreement, between synthetic patches and held-out patients' patches: 0 means no more than any real
patch, and it cannot pass 1.
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
    """Compute how far the nearest training patches of each query agree in their patient, and whose the nearest is.

    Args:
        queries: (n, coordinates).
        training: of training patients.

    Returns:
        (n,) share of the pairs among the 5 nearest that are of one patient, and (n,) the patient of the nearest.
    """
    patients = training.patient[nearest(queries, training.points, min(NEIGHBOURS, len(training.points)))[1]]
    k = patients.shape[1]
    # Ordered pairs of neighbours of one patient, without each neighbour and itself.
    same = (patients[:, :, None] == patients[:, None, :]).sum(axis=(1, 2)) - k
    return same / max(1, k * (k - 1)), patients[:, 0]


@dataclass(frozen=True)
class HeldOut:
    """Of n real patches of people who were not trained on: their person's number, and `neighbour_agreement` among training patches."""

    person: NDArray[np.int64]
    agreement: NDArray[np.float64]
    patient: NDArray[np.int64]

    @classmethod
    def of(cls, held_out: PatientPoints, training: PatientPoints) -> HeldOut:
        """Of patches of such people."""
        return cls(held_out.patient, *neighbour_agreement(held_out.points, training))


def linkage_statistics(synthetic: Points, held_out: HeldOut, training: PatientPoints, bootstrap: int, seed: int) -> dict[str, Any]:
    """Compare the agreement of synthetic patches with that of held-out patients' real patches.

    Args:
        synthetic: (n, coordinates).
        held_out: patches of patients on whom nothing was trained.
        training: patients behind the set.
        bootstrap: resamples of synthetic patches and of held-out patients.
        seed: of the resamples.

    Returns:
        agreement (synthetic), held_out (the same of held-out patients, mean over patients), excess (the difference) with _low and
        _high, its 95% bootstrap interval, and p, the share of resamples without an excess (1 where there is one held-out patient);
        chance (agreement if neighbours were drawn at random); top_share and top_share_held_out, the share of queries that lead to the
        patient to whom most lead.
    """
    agreement, patient = neighbour_agreement(synthetic, training)
    # The person is the unit: a held-out patient counts once, however many patches the scan gave.
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
