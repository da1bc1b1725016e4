"""The discrete Gaussian distribution, sampled exactly in whole numbers.

Noise in floating-point numbers breaks the promise of the Gaussian mechanism: not every number can occur, and which can depends on the sum
that it is added to (Mironov 2012; Casacuberta et al. 2022). Votes are whole numbers, and so is this noise. Sampling uses whole random
numbers and fractions only: Canonne, Kamath and Steinke, The Discrete Gaussian for Differential Privacy, NeurIPS 2020, algorithms 1 to 3.
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
    """Whole random numbers."""

    def randrange(self, stop: int, /) -> int:
        """Evenly from 0 to below `stop`."""
        ...


def source_of(kind: Literal["secure", "seeded"], seed: int, step: int) -> Source:
    """The system's cryptographic source, or, for tests, numbers that a seed and a step repeat."""
    return secrets.SystemRandom() if kind == "secure" else random.Random(f"private-phantom/{seed}/{step}")


def discrete_gaussian(variance: Fraction, count: int, source: Source) -> NDArray[np.int64]:
    """(count,) independent whole numbers x with probability proportional to exp(-x^2 / (2 variance)).

    Args:
        variance: above 0.
        count: how many.
        source: of whole random numbers.
    """
    return np.array([_one(variance, source) for _ in range(count)], np.int64)


def _one(variance: Fraction, source: Source) -> int:
    """Algorithm 3: a discrete Laplace variable of about the same deviation, kept with the ratio of the two probabilities."""
    scale = math.isqrt(int(variance)) + 1
    while True:
        drawn = _laplace(scale, source)
        miss = abs(drawn) - variance / scale
        if _with_probability_exp(miss * miss / (2 * variance), source):
            return drawn


def _laplace(scale: int, source: Source) -> int:
    """Algorithm 2: x with probability proportional to exp(-|x| / scale)."""
    while True:
        within = source.randrange(scale)
        if not _with_probability_exp(Fraction(within, scale), source):
            continue
        whole = 0
        while _with_probability_exp(Fraction(1), source):
            whole += 1
        size, negative = within + scale * whole, source.randrange(2) == 1
        if size or not negative:  # zero must not come twice as often
            return -size if negative else size


def _with_probability_exp(exponent: Fraction, source: Source) -> bool:
    """Algorithm 1: true with probability exp(-exponent), for any exponent from 0 on."""
    while exponent > 1:
        if not _with_probability_exp(Fraction(1), source):
            return False
        exponent -= 1
    # von Neumann: the first of the trials exponent / 1, exponent / 2, ... that fails has an odd number with probability exp(-exponent)
    trial = 1
    while source.randrange(exponent.denominator * trial) < exponent.numerator:
        trial += 1
    return trial % 2 == 1
