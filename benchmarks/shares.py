"""Intervals of shares, for the tables of other benchmarks."""

from __future__ import annotations

from scipy import stats


def exact_interval(successes: int, trials: int) -> tuple[float, float]:
    """95% interval of a share (Clopper and Pearson 1934)."""
    between = stats.binomtest(successes, trials).proportion_ci(0.95, method="exact")
    return float(between.low), float(between.high)
