"""Exact sampling of the discrete Gaussian distribution over the integers.

Floating-point noise invalidates the guarantee of the Gaussian mechanism: not every value can occur, and which values can occur depends on
the sum to which the noise is added (Mironov 2012; Casacuberta et al. 2022). Votes are integers, and so is this noise. Sampling uses random
integers and fractions only: Canonne, Kamath and Steinke, The Discrete Gaussian for Differential Privacy, NeurIPS 2020, algorithms 1 to 3.
"""

from __future__ import annotations

import math
import random
import secrets
from fractions import Fraction
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray


class Source(Protocol):
    """Source of random integers."""

    def randrange(self, stop: int, /) -> int:
        """Return an integer from the uniform distribution over 0, ..., stop - 1."""
        ...


def source_of(kind: Literal["secure", "seeded"], seed: int, step: int) -> Source:
    """Return the system's cryptographic source or, for tests, a pseudorandom one that is determined by a seed and a step."""
    return secrets.SystemRandom() if kind == "secure" else random.Random(f"private-phantom/{seed}/{step}")


def discrete_gaussian(variance: Fraction, count: int, source: Source) -> NDArray[np.int64]:
    """Draw independent integers x (count,) with probability proportional to exp(-x^2 / (2 variance)).

    Args:
        variance: the parameter sigma^2, above 0.
        count: number of draws.
        source: random integers.
    """
    return np.array([_one(variance, source) for _ in range(count)], np.int64)


def _one(variance: Fraction, source: Source) -> int:
    """Algorithm 3, rejection sampling: a discrete Laplace variable of about the same deviation is accepted with the ratio of densities."""
    scale = math.isqrt(int(variance)) + 1
    while True:
        drawn = _laplace(scale, source)
        miss = abs(drawn) - variance / scale
        if _with_probability_exp(miss * miss / (2 * variance), source):
            return drawn


def _laplace(scale: int, source: Source) -> int:
    """Algorithm 2: draw x with probability proportional to exp(-|x| / scale)."""
    while True:
        within = source.randrange(scale)
        if not _with_probability_exp(Fraction(within, scale), source):
            continue
        whole = 0
        while _with_probability_exp(Fraction(1), source):
            whole += 1
        size, negative = within + scale * whole, source.randrange(2) == 1
        if size or not negative:  # reject -0: otherwise zero would be twice as probable
            return -size if negative else size


def _with_probability_exp(exponent: Fraction, source: Source) -> bool:
    """Algorithm 1: return True with probability exp(-exponent), for exponents of at least 0."""
    while exponent > 1:
        if not _with_probability_exp(Fraction(1), source):
            return False
        exponent -= 1
    # von Neumann: Bernoulli trials of probability exponent / 1, exponent / 2, ...; the first failure has an odd number with probability
    # exp(-exponent)
    trial = 1
    while source.randrange(exponent.denominator * trial) < exponent.numerator:
        trial += 1
    return trial % 2 == 1
