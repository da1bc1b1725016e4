"""How much noise a promise takes, and what noise promises, by privacy loss distributions of the library dp-accounting.

A patient adds 1 to at most `votes` of the sums of a round. So two data sets that differ by one whole patient, with or without him, differ
by 1 in at most `votes * rounds` whole numbers, each of which gets discrete Gaussian noise of its own; the candidates of a round depend on
the noisy sums before it alone. That is an adaptive composition of so many discrete Gaussian mechanisms of sensitivity 1, no bound on
norms is lost, and no divisor depends on the patients.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import cache
from importlib import metadata
from typing import Any

from scipy.optimize import brentq
from scipy.stats import norm

from angiosynth.generators.private_evolution.kinds import PrivatePhantomSettings

GRID = 64  # deviations are multiples of 1 / GRID: exact as a fraction and as a float
UNIT = "one whole patient: all scans and patches of a training patient, added or removed"
NOT_PRIVATE = (
    "the settings of the generator, of patches and of synthesis, and who chose them by what",
    "the number and the choice of training patients",
    "validation and test patients: their scores, and every choice that was made by them",
    "the audit and its figures, which compare the set with training patients",
    "other generators, U-nets and sets made of the same patients; a second training of this kind is a second release, epsilons add up",
)


def epsilon_of(deviation: float, mechanisms: int, delta: float) -> float:
    """Epsilon of the composition of so many discrete Gaussian mechanisms of sensitivity 1 (pessimistic, never too small)."""
    return float(_loss(deviation, mechanisms).get_epsilon_for_delta(delta))


def delta_of(deviation: float, mechanisms: int, epsilon: float) -> float:
    """Delta of the same."""
    return float(_loss(deviation, mechanisms).get_delta_for_epsilon(epsilon))


def _loss(deviation: float, mechanisms: int) -> Any:
    from dp_accounting.pld import privacy_loss_distribution  # a second to import

    return privacy_loss_distribution.from_discrete_gaussian_mechanism(deviation, sensitivity=1).self_compose(mechanisms)


@cache
def deviation_for(epsilon: float, delta: float, mechanisms: int) -> Fraction:
    """A deviation, a multiple of 1 / GRID, with which the composition is (epsilon, delta)-private, at most a little more than is needed.

    The search goes up from just below the deviation of the continuous mechanism, from which the discrete one differs little.
    """
    steps = max(1, int(0.997 * continuous_deviation(epsilon, delta) * mechanisms**0.5 * GRID))
    stride = max(1, steps // 1000)
    while epsilon_of(steps / GRID, mechanisms, delta) > epsilon:
        steps += stride
    return Fraction(steps, GRID)


def continuous_deviation(epsilon: float, delta: float) -> float:
    """Deviation of the Gaussian mechanism of sensitivity 1 (Balle and Wang 2018, theorem 8)."""

    def excess(deviation: float) -> float:
        half, shift = 0.5 / deviation, epsilon * deviation
        return float(norm.cdf(half - shift) - _exp_cdf(epsilon, -half - shift) - delta)

    return float(brentq(excess, 1e-3, 1e6, xtol=1e-9))


def _exp_cdf(epsilon: float, place: float) -> float:
    """exp(epsilon) Phi(place) without overflow."""
    return math.exp(epsilon + float(norm.logcdf(place)))


def promise(settings: PrivatePhantomSettings, patients: int) -> dict[str, Any]:
    """What a training promises and to whom, for card, page and run; plain values."""
    deviation = deviation_for(settings.epsilon, settings.delta, settings.steps * settings.votes)
    mechanisms = settings.steps * settings.votes
    return {
        "epsilon": settings.epsilon,
        "epsilon_accounted": round(epsilon_of(float(deviation), mechanisms, settings.delta), 6),
        "delta": settings.delta,
        "unit": UNIT,
        "rounds": settings.steps,
        "votes": settings.votes,
        "noise_deviation": float(deviation),
        "noise_multiplier": round(float(deviation) / settings.votes**0.5, 6),
        "mechanism": "discrete Gaussian noise on the sum of the votes of each round",
        "accountant": f"dp-accounting {metadata.version('dp-accounting')}, privacy loss distributions",
        "noise_source": settings.noise_source,
        "patients": patients,
        "spacing_mm": list(settings.spacing_mm),  # of the drawn grid: a package must not measure that of the scans
        "not_private": list(NOT_PRIVATE),
    }
