"""Count copies person by person, and test the counts: does the set repeat people who were trained on more often than it resembles others?

A synthetic patch counts as a copy of a person where it is distinctive and much nearer to that person than to anybody who was not trained
on. Both conditions come from real patches of people who were not trained on, each compared with the others and never with itself.
Distinctive: as far from everybody else as real patches usually are from other people's, so that plain tissue, which is near to
everybody's, never counts. Much nearer: nearer than all but few such real patches happen to be to a training patient.

The person is the unit. Whoever was not trained on is suspected by the same rule, so the counts of both groups are alike if the set knows
nobody. Two tests ask for two kinds of leak: copies of many people, and many copies of one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from angiosynth.privacy.memorisation import CopySearch, Suspicion
from angiosynth.privacy.nearest import Indices
from angiosynth.settings.audit import AuditLimits

LEAST_DEVIATION = 0.5  # of the root of a Poisson count, whatever its mean (Anscombe 1948)


@dataclass(frozen=True)
class CopyThreshold:
    """Below `ratio`, and in every space at least so far apart (spaces,) from other people, a patch counts as a copy."""

    ratio: float
    apart: NDArray[np.float64]

    def passed(self, suspicion: Suspicion) -> NDArray[np.bool_]:
        """(n,) whether each query counts as a copy of its person."""
        return (suspicion.ratio < self.ratio) & self.distinctive(suspicion)

    def distinctive(self, suspicion: Suspicion) -> NDArray[np.bool_]:
        """(n,) whether each query is unlike everybody's patches."""
        return np.asarray((suspicion.apart >= self.apart).all(axis=1))


def threshold_from(reference: CopySearch, limits: AuditLimits, distinctive: float) -> CopyThreshold:
    """Set the threshold by real patches of people who were not trained on, each searched for without the person it is of.

    Args:
        reference: the search for these patches.
        limits: `copies` is the share of them that may count as copies, `copy_ratio` the greatest ratio.
        distinctive: quantile of their distances to other people from which on a patch is distinctive.
    """
    apart = reference.training.apart
    # A distance of 0 is that of patches that show nothing, such as labels without a vessel.
    columns = [column[column > 0] for column in apart.T]
    distances = np.array([np.quantile(column, distinctive) if len(column) else np.inf for column in columns])
    ratios = np.minimum(reference.training.ratio[(apart >= distances).all(axis=1)], 1.0)  # some are infinite
    ratio = float(np.quantile(ratios, limits.copies)) if len(ratios) else limits.copy_ratio
    return CopyThreshold(min(limits.copy_ratio, ratio), distances)


def copy_statistics(search: CopySearch, threshold: CopyThreshold, people: tuple[int, int], bootstrap: int, seed: int) -> dict[str, Any]:
    """Count the copies of every person and compare those who were trained on with those who were not.

    Args:
        search: for the set.
        threshold: from real patches of others.
        people: numbers of people who were trained on and who were not.
        bootstrap: resamples of people.
        seed: of the resamples.

    Returns:
        copies (share of the set that counts as copies of training patients) with its 95% bootstrap interval over people, _low and _high;
        copies_count; copies_held_out (the share if these people were copied as often as the others seem to be); p, p_spread, p_worst
        (`counts_p`); member_counts, other_counts (sorted, so that no position reveals a patient); ratio, the threshold; least_ratio of
        distinctive patches, None where there are none.
    """
    n = len(search.ratios)
    members, others = (
        np.bincount(side.person[threshold.passed(side)], minlength=count)
        for side, count in zip((search.training, search.others), people, strict=True)
    )
    rng = np.random.default_rng(seed)
    draws = [float(members[rng.integers(len(members), size=len(members))].sum()) / n for _ in range(bootstrap)]
    copies = int(members.sum()) / n
    low, high = np.percentile(draws, (2.5, 97.5)) if len(members) > 1 else (0.0, 1.0)
    ratios = search.ratios[threshold.distinctive(search.training) & np.isfinite(search.ratios)]
    return {
        "copies": copies,
        "copies_low": min(float(low), copies),
        "copies_high": max(float(high), copies),
        "copies_count": int(members.sum()),
        "copies_held_out": float(others.mean()) * len(members) / n,
        **counts_p(members, others),
        "member_counts": np.sort(members).tolist(),
        "other_counts": np.sort(others).tolist(),
        "ratio": threshold.ratio,
        "least_ratio": float(ratios.min()) if len(ratios) else None,
    }


def counts_p(members: Indices, others: Indices) -> dict[str, float]:
    """Probability of such counts if nobody were copied.

    Args:
        members: (m,) copies of each person who was trained on.
        others: (k,) of each person who was not.

    Returns:
        p_spread (copies of many people), p_worst (many copies of one person), p (of both together, corrected for there being two).
    """
    spread, worst = _spread_p(members, others), _worst_p(members, others)
    return {"p": min(1.0, 2.0 * min(spread, worst)), "p_spread": spread, "p_worst": worst}


def _spread_p(members: Indices, others: Indices) -> float:
    """Of all copies, the share of members' is that of chance: the exact binomial test, without the greatest count of either side.

    Chance may make several patches alike to one person; the greatest counts are `_worst_p`'s. Where the other counts of those who were
    not trained on vary more than Poisson's, all are divided by that excess (quasi-Poisson; McCullagh and Nelder 1989, section 6.2).
    """
    members, others = np.sort(members)[:-1], np.sort(others)[:-1]
    if not len(members) or not len(others):
        return 1.0
    excess = max(1.0, float(others.var(ddof=1) / others.mean())) if others.any() and len(others) > 1 else 1.0
    copied, alike = int(members.sum() / excess), int(np.ceil(others.sum() / excess))
    return float(stats.binom.sf(copied - 1, copied + alike, len(members) / (len(members) + len(others))))


def _worst_p(members: Indices, others: Indices) -> float:
    """How improbable the greatest count of m members is as that of one more of the others, times m.

    The root of a count has nearly the same variance whatever the mean, so the prediction interval of one more normal value applies
    (Student's t); its deviation is that of the others, no less than Poisson's.
    """
    if len(others) < 2:
        return 1.0
    roots, worst = np.sqrt(others + 0.375), float(np.sqrt(members.max() + 0.375))
    deviation = max(LEAST_DEVIATION, float(roots.std(ddof=1)))
    t = (worst - float(roots.mean())) / (deviation * np.sqrt(1.0 + 1.0 / len(others)))
    return min(1.0, len(members) * float(stats.t.sf(t, len(others) - 1)))
