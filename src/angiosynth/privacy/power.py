"""What an audit of so many people can find, before it is made: the power of its rank test, and how many people it takes at least."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from angiosynth.privacy.membership import least_p

AUCS = (0.7, 0.8, 0.9)  # of attacks for which the power is given
DRAWS = 4000
SEED = 1


def audit_power(members: int, others: int, level: float) -> dict[str, float]:
    """Probability that attacks of each of AUCS are significant at a level, for one score a person.

    Scores are normal with equal variance on both sides (binormal model; Hanley and McNeil 1982): an AUC is then a difference of means.

    Args:
        members: people who were trained on.
        others: people who were not.
        level: of significance, after the correction for the number of measures.

    Returns:
        Each AUC as text, such as "0.8" -> probability. The draws are the same at every call.
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
    """The fewest people who were not trained on with whom a perfect attack on so many members reaches a level of significance."""
    others = 1
    while least_p(members, others) > level:
        others += 1
    return others


def _critical_count(members: int, others: int, level: float) -> int:
    """The least number of pairs (member above other) with a one-sided exact rank test of at most `level`; one more than all if none."""
    tail = np.cumsum(_pair_counts(members, others)[::-1])[::-1]
    significant = np.flatnonzero(tail / math.comb(members + others, members) <= level)
    return int(significant[0]) if len(significant) else members * others + 1


def _pair_counts(members: int, others: int) -> NDArray[np.float64]:
    """In how many orders of the people there are 0, 1, ... m*k such pairs: coefficients of a Gaussian binomial (Mann and Whitney 1947)."""
    counts = np.zeros(members * others + 1)
    counts[0] = 1.0
    for place in range(1, members + 1):
        # Multiply by 1 - q^(others + place), then divide by 1 - q^place.
        step = others + place
        counts[step:] -= counts[:-step].copy()
        for number in range(place, len(counts)):
            counts[number] += counts[number - place]
    return counts
