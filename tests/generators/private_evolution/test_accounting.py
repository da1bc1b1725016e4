"""Epsilon and delta against the Gaussian mechanism's formula, computed here in another way."""

from __future__ import annotations

import math

import numpy as np
import pytest

from angiosynth.generators.private_evolution.accounting import (
    continuous_deviation,
    delta_of,
    deviation_for,
    epsilon_of,
    promise,
)
from tests.factories import tiny_generator


def gaussian_delta(deviation: float, epsilon: float) -> float:
    """Delta of the Gaussian mechanism of sensitivity 1 by its definition: the integral of max(0, p - e^epsilon q)."""
    x = np.linspace(-12 * deviation, 12 * deviation + 1, 400_001)
    density = np.exp(-((x - 1) ** 2) / (2 * deviation**2)) - math.exp(epsilon) * np.exp(-(x**2) / (2 * deviation**2))
    return float(np.maximum(density, 0).sum() * (x[1] - x[0]) / (deviation * math.sqrt(2 * math.pi)))


@pytest.mark.parametrize(("epsilon", "delta"), [(1.0, 1e-5), (8.0, 1e-5), (0.5, 1e-3)])
def test_the_continuous_deviation_is_that_of_the_definition(epsilon: float, delta: float) -> None:
    assert gaussian_delta(continuous_deviation(epsilon, delta), epsilon) == pytest.approx(delta, rel=1e-3)


def test_the_deviation_for_epsilon_1_is_the_known_one() -> None:
    assert continuous_deviation(1.0, 1e-5) == pytest.approx(3.7305, abs=1e-3)  # Balle and Wang 2018: the classical bound asks for 4.84


@pytest.mark.parametrize("mechanisms", [1, 20])
def test_the_accountant_agrees_with_the_gaussian_mechanism_of_the_same_total(mechanisms: int) -> None:
    """At a deviation of many whole numbers the discrete distribution is the continuous one; compositions add their squared distances."""
    deviation = 20.0 * mechanisms**0.5
    reached = epsilon_of(deviation, mechanisms, gaussian_delta(20.0, 0.2))
    exact = gaussian_delta(20.0, 0.2)
    assert 0.2 <= reached < 0.202  # it errs on the safe side, by its grid of losses
    assert exact <= delta_of(deviation, mechanisms, 0.2) < 1.1 * exact


@pytest.mark.parametrize("epsilon", [1.0, 4.0])
def test_the_noise_suffices_and_a_little_less_does_not(epsilon: float) -> None:
    deviation = deviation_for(epsilon, 1e-5, 4)
    assert epsilon_of(float(deviation), 4, 1e-5) <= epsilon < epsilon_of(0.98 * float(deviation), 4, 1e-5)
    assert deviation**2 == float(deviation) ** 2  # the sampler's fraction is the accountant's number


def test_the_promise_names_what_it_covers_and_what_not() -> None:
    settings = tiny_generator("private-phantom", epsilon=2.0)
    facts = promise(settings, 30)
    assert (facts["epsilon"], facts["delta"], facts["rounds"], facts["patients"]) == (2.0, 1e-5, 4, 30)
    assert facts["epsilon_accounted"] <= 2.0
    assert facts["noise_multiplier"] == pytest.approx(facts["noise_deviation"] / settings.votes**0.5, abs=1e-6)
    assert "whole patient" in facts["unit"]
    assert any("validation" in words for words in facts["not_private"])
