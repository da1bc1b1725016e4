"""Count copies of each person, and test whether people who were trained on have more copies than people who were not.

A synthetic patch counts as a copy of a person if it is distinctive and much nearer to that person than to anybody who was not trained on.
Thresholds for both conditions come from real patches of people who were not trained on, each compared with the other people only.
Distinctive: at least as far from everybody else as a quantile of real patches is from other people's, so that plain tissue, which is
near to everybody's, never counts. Much nearer: nearer than all but a small fraction of these real patches is to a training patient.

The unit of the tests is the person. Copies of people who were not trained on are counted by the same rule, so if the set leaks nothing,
the counts of both groups have the same distribution. Two tests look for two kinds of leak: copies of many people, and many copies of one.
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

LEAST_DEVIATION = 0.5  # standard deviation of the root of a Poisson count, nearly independent of its mean (Anscombe 1948)


@dataclass(frozen=True)
class CopyThreshold:
    """When a patch counts as a copy.

    Attributes:
        ratio: its ratio of distances is below this.
        apart: (spaces,) its distance to other people in each space is at least this.
    """

    ratio: float
    apart: NDArray[np.float64]

    def passed(self, suspicion: Suspicion) -> NDArray[np.bool_]:
        """Whether each query counts as a copy of its person, (n,)."""
        return (suspicion.ratio < self.ratio) & self.distinctive(suspicion)

    def distinctive(self, suspicion: Suspicion) -> NDArray[np.bool_]:
        """Whether each query is distinctive, (n,)."""
        return np.asarray((suspicion.apart >= self.apart).all(axis=1))


def threshold_from(reference: CopySearch, limits: AuditLimits, distinctive: float) -> CopyThreshold:
    """Compute the threshold from real patches of people who were not trained on.

    Args:
        reference: the search for these patches, each without the person it belongs to.
        limits: `copies` is the share of these patches that may count as copies, `copy_ratio` an upper bound on the ratio.
        distinctive: quantile of their distances to other people above which a patch is distinctive.
    """
    apart = reference.training.apart
    # Patches that show nothing, such as labels without a vessel, have distance 0.
    columns = [column[column > 0] for column in apart.T]
    distances = np.array([np.quantile(column, distinctive) if len(column) else np.inf for column in columns])
    ratios = np.minimum(reference.training.ratio[(apart >= distances).all(axis=1)], 1.0)  # infinite for pairs that were not aligned
    ratio = float(np.quantile(ratios, limits.copies)) if len(ratios) else limits.copy_ratio
    return CopyThreshold(min(limits.copy_ratio, ratio), distances)


def copy_statistics(search: CopySearch, threshold: CopyThreshold, people: tuple[int, int], bootstrap: int, seed: int) -> dict[str, Any]:
    """Count the copies of every person and compare those who were trained on with those who were not.

    Args:
        search: the search for the synthetic patches.
        threshold: when a patch counts as a copy.
        people: numbers of people who were trained on and who were not.
        bootstrap: number of resamples of people.
        seed: seed of the resamples.

    Returns:
        copies: share of the set that counts as copies of training patients; copies_low, copies_high: its 95% bootstrap interval over
        people. copies_count: their number. copies_held_out: the share expected if training patients were copied as often as the others.
        p, p_spread, p_worst: see `counts_p`. member_counts, other_counts: copies of each person, sorted, so that positions identify
        nobody. ratio: the threshold. least_ratio: smallest ratio of a distinctive patch, None if there is none.
    """
    n = len(search.ratios)
    members, others = (
        np.bincount(suspicion.person[threshold.passed(suspicion)], minlength=count)
        for suspicion, count in zip((search.training, search.others), people, strict=True)
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
    """Test the hypothesis that nobody was copied, one-sided.

    Args:
        members: (m,) copies of each person who was trained on.
        others: (k,) copies of each person who was not.

    Returns:
        p_spread: of the test for copies of many people; p_worst: of the test for many copies of one person; p: of both, Bonferroni
        corrected.
    """
    spread, worst = _spread_p(members, others), _worst_p(members, others)
    return {"p": min(1.0, 2.0 * min(spread, worst)), "p_spread": spread, "p_worst": worst}


def _spread_p(members: Indices, others: Indices) -> float:
    """Exact binomial test that members have their share of all copies, without the largest count of either group.

    Several patches may resemble one person by chance; the largest count is tested by `_worst_p`. If the counts of people who were not
    trained on are overdispersed relative to Poisson, all counts are divided by the dispersion (quasi-Poisson; McCullagh and Nelder 1989,
    section 6.2).
    """
    members, others = np.sort(members)[:-1], np.sort(others)[:-1]
    if not len(members) or not len(others):
        return 1.0
    dispersion = max(1.0, float(others.var(ddof=1) / others.mean())) if others.any() and len(others) > 1 else 1.0
    of_members, of_others = int(members.sum() / dispersion), int(np.ceil(others.sum() / dispersion))
    return float(stats.binom.sf(of_members - 1, of_members + of_others, len(members) / (len(members) + len(others))))


def _worst_p(members: Indices, others: Indices) -> float:
    """Test that the largest count of m members is one more draw from the distribution of the others, Bonferroni corrected by m.

    The square root of a count has nearly the same variance for every mean (Anscombe 1948), so Student's prediction interval of one more
    normal value applies to roots. Their deviation is estimated from the others, with that of a Poisson count as lower bound.
    """
    if len(others) < 2:
        return 1.0
    roots, worst = np.sqrt(others + 0.375), float(np.sqrt(members.max() + 0.375))
    deviation = max(LEAST_DEVIATION, float(roots.std(ddof=1)))
    t = (worst - float(roots.mean())) / (deviation * np.sqrt(1.0 + 1.0 / len(others)))
    return min(1.0, len(members) * float(stats.t.sf(t, len(others) - 1)))
