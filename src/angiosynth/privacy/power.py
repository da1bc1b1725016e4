"""Power analysis of an audit: the power of its rank test for given numbers of people, and the fewest people that it needs."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from angiosynth.privacy.membership import least_p

AUCS = (0.7, 0.8, 0.9)  # AUCs of attacks for which the power is reported
DRAWS = 4000  # simulated audits
SEED = 1


def audit_power(members: int, others: int, level: float) -> dict[str, float]:
    """Simulate the probability that attacks with each of AUCS are significant in the exact rank test, with one score for each person.

    Scores are normal with equal variance in both groups (binormal model; Hanley and McNeil 1982), so that an AUC corresponds to a
    difference of means. The simulation has a fixed seed.

    Args:
        members: number of people who were trained on.
        others: number of people who were not.
        level: significance level after the correction for the number of measures.

    Returns:
        AUC as text, such as "0.8" -> power.
    """
    threshold = _critical_count(members, others, level)
    rng = np.random.default_rng(SEED)
    scores = rng.standard_normal((DRAWS, members + others))
    powers = {}
    for auc in AUCS:
        shift = math.sqrt(2.0) * float(norm.ppf(auc))
        counts = ((scores[:, :members, None] + shift) > scores[:, None, members:]).sum(axis=(1, 2))
        powers[f"{auc:g}"] = float((counts >= threshold).mean())
    return powers


def least_others(members: int, level: float) -> int:
    """The smallest number of non-members with which a perfect attack on this number of members is significant at a level."""
    others = 1
    while least_p(members, others) > level:
        others += 1
    return others


def _critical_count(members: int, others: int, level: float) -> int:
    """The smallest Mann-Whitney U (pairs with the member above the other) that is significant at `level`; all pairs plus 1 if none is."""
    tail = np.cumsum(_pair_counts(members, others)[::-1])[::-1]
    significant = np.flatnonzero(tail / math.comb(members + others, members) <= level)
    return int(significant[0]) if len(significant) else members * others + 1


def _pair_counts(members: int, others: int) -> NDArray[np.float64]:
    """Number of rankings of m members and k others with U = 0, 1, ..., m k: coefficients of a Gaussian binomial (Mann and Whitney 1947)."""
    counts = np.zeros(members * others + 1)
    counts[0] = 1.0
    for place in range(1, members + 1):
        # Multiply by 1 - q^(others + place), then divide by 1 - q^place.
        step = others + place
        counts[step:] -= counts[:-step].copy()
        for number in range(place, len(counts)):
            counts[number] += counts[number - place]
    return counts
