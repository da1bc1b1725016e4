"""Privacy accounting: the noise that an (epsilon, delta) guarantee needs, by privacy loss distributions of the library dp-accounting.

A patient adds 1 to at most `votes` of the sums of a round. Two data sets that differ in the presence of one patient thus differ by 1 in at
most `votes * rounds` integers, each of which gets independent discrete Gaussian noise. The candidates of a round depend only on the noisy
sums of earlier rounds. This is an adaptive composition of `votes * rounds` discrete Gaussian mechanisms of sensitivity 1. Nothing is lost
to bounds on norms, and nothing is divided by a number that depends on the patients.
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

GRID = 64  # deviations are multiples of 1 / GRID, exact both as fractions and as floating-point numbers
UNIT = "one whole patient: all scans and patches of one who votes, added or removed"
NOT_PRIVATE = (
    "the settings of the generator, of patches and of synthesis, and who chose them by what",
    "the number and the choice of those who vote",
    "validation and test patients: their scores, and every choice that was made by them",
    "the audit and its figures, which compare the set with training patients",
    "other generators, U-nets and sets made of the same patients; a second training of this kind is a second release, epsilons add up",
)


def epsilon_of(deviation: float, mechanisms: int, delta: float) -> float:
    """Return an upper bound on epsilon of the composition of `mechanisms` discrete Gaussian mechanisms of sensitivity 1."""
    return float(_loss(deviation, mechanisms).get_epsilon_for_delta(delta))


def delta_of(deviation: float, mechanisms: int, epsilon: float) -> float:
    """Return an upper bound on delta of the composition of `mechanisms` discrete Gaussian mechanisms of sensitivity 1."""
    return float(_loss(deviation, mechanisms).get_delta_for_epsilon(epsilon))


def _loss(deviation: float, mechanisms: int) -> Any:
    from dp_accounting.pld import privacy_loss_distribution  # the import takes a second

    return privacy_loss_distribution.from_discrete_gaussian_mechanism(deviation, sensitivity=1).self_compose(mechanisms)


@cache
def deviation_for(epsilon: float, delta: float, mechanisms: int) -> Fraction:
    """Return a multiple of 1 / GRID, close to the smallest, as deviation with which the composition is (epsilon, delta)-private.

    The search goes upwards from slightly below the deviation of the continuous mechanism, which differs little from the discrete one.
    """
    steps = max(1, int(0.997 * continuous_deviation(epsilon, delta) * mechanisms**0.5 * GRID))
    stride = max(1, steps // 1000)
    while epsilon_of(steps / GRID, mechanisms, delta) > epsilon:
        steps += stride
    return Fraction(steps, GRID)


def continuous_deviation(epsilon: float, delta: float) -> float:
    """Return the smallest deviation of the Gaussian mechanism of sensitivity 1 (Balle and Wang 2018, theorem 8)."""

    def excess(deviation: float) -> float:
        half, shift = 0.5 / deviation, epsilon * deviation
        return float(norm.cdf(half - shift) - _exp_cdf(epsilon, -half - shift) - delta)

    return float(brentq(excess, 1e-3, 1e6, xtol=1e-9))


def _exp_cdf(epsilon: float, place: float) -> float:
    """exp(epsilon) Phi(place) without overflow."""
    return math.exp(epsilon + float(norm.logcdf(place)))


def promise(settings: PrivatePhantomSettings, patients: int) -> dict[str, Any]:
    """Describe the privacy guarantee of a training for card, page and run; JSON values.

    Args:
        settings: settings of the generator.
        patients: number of patients who vote: training patients, and voters of the split.
    """
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
        "spacing_mm": list(settings.spacing_mm),  # spacing of the simulated grid; a package must not contain that of the scans
        "not_private": list(NOT_PRIVATE),
    }
