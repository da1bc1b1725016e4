"""The noise that is drawn is the noise that the accountant was told of."""

from __future__ import annotations

import math
import random
import secrets
from fractions import Fraction
from typing import Literal

import numpy as np
import pytest
from scipy import stats

from angiosynth.generators.private_evolution.noise import discrete_gaussian, source_of


def probabilities(deviation: float, reach: int) -> np.ndarray:
    """P(x) for x = -reach..reach by its definition."""
    places = np.arange(-reach, reach + 1)
    weights = np.exp(-(places**2) / (2 * deviation**2))
    return np.asarray(weights / weights.sum())


@pytest.mark.parametrize("deviation", [Fraction(2, 5), Fraction(1), Fraction(47, 16), Fraction(25)], ids=str)
def test_draws_have_the_probabilities_of_a_discrete_gaussian(deviation: Fraction) -> None:
    drawn = discrete_gaussian(deviation**2, 6000, random.Random(3))
    reach = math.ceil(6 * deviation)
    expected = len(drawn) * probabilities(float(deviation), reach)
    counted = np.bincount(np.clip(drawn, -reach, reach) + reach, minlength=2 * reach + 1)
    # neighbouring places are taken together until each is expected often enough for a chi-square test
    groups = np.cumsum(expected) // 40
    sums = [np.bincount(groups.astype(int), values) for values in (counted, expected)]
    usual = [part[sums[1] > 5] for part in sums]
    assert stats.chisquare(usual[0], usual[1] * usual[0].sum() / usual[1].sum()).pvalue > 1e-4


def test_another_deviation_is_noticed() -> None:
    """The test above can fail: draws of a tenth less deviation have another variance."""
    variance = float(np.var(discrete_gaussian(Fraction(9, 1), 6000, random.Random(5))))
    lower, upper = (9 * float(stats.chi2.ppf(share, 6000)) / 6000 for share in (1e-4, 1 - 1e-4))
    assert lower < variance < upper
    assert not lower < 9 * 0.9**2 < upper


def test_neighbouring_draws_are_independent() -> None:
    drawn = discrete_gaussian(Fraction(16), 6000, random.Random(8)).astype(float)
    assert abs(np.corrcoef(drawn[:-1], drawn[1:])[0, 1]) < 4 / 6000**0.5


def test_a_seed_repeats_and_the_secure_source_does_not() -> None:
    def draw(kind: Literal["secure", "seeded"], step: int) -> list[int]:
        return [int(value) for value in discrete_gaussian(Fraction(400), 20, source_of(kind, 1, step))]

    assert draw("seeded", 1) == draw("seeded", 1) != draw("seeded", 2)
    assert draw("secure", 1) != draw("secure", 1)
    assert isinstance(source_of("secure", 1, 1), secrets.SystemRandom)
