"""Which settings of the phantom the noisy votes of all rounds speak for: samples of a posterior, by simulation of the vote itself.

Everything here reads noisy sums, public candidates and their drawn statistics: it is post-processing, which costs no privacy. Where the
noise drowns the votes, the samples spread over the public ranges; where it does not, they narrow around the hospital's scanner.

A patient of a scanner with settings x has statistics f(x) + e. f is fitted to the candidates' statistics, quadratic in x; e is normal with
the deviation between heads of one scanner, 1 on the scale of `features.whitening`, and what the fit misses. Drawn patients vote as real
ones do, which gives the expected share of votes of each candidate. Samples are moved from the even prior to the posterior by a sequence
of tempered distributions (Del Moral, Doucet and Jasra 2006, J. R. Stat. Soc. B 68:411): weigh, resample, random-walk Metropolis.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from angiosynth.generators.private_evolution.space import DIMENSIONS, Points, reflected

Values = NDArray[np.float64]

SAMPLES, VOTERS = 384, 24  # of the posterior; drawn patients by whom the votes for one sample are expected
TEMPERATURES = tuple((step / 10) ** 2 for step in range(1, 11))  # powers of the likelihood, the last one 1
MOVES = 2  # of each sample at a temperature
RIDGE = 0.3  # penalty of the fit's coefficients
MISFIT, FLOOR = 0.5, 0.01  # deviation of true from expected votes, as a share of them; and as a share of all votes of a round


@dataclass(frozen=True)
class Round:
    """What is public of one round of voting.

    `points`: (n, DIMENSIONS) candidates. `described`: (n, k) their statistics, whitened. `noisy`: (n,) the sums of votes with noise.
    """

    points: Points
    described: Values
    noisy: Values


@dataclass(frozen=True)
class Fit:
    """Statistics as a quadratic function of settings. `deviation`: (k,) what it misses of a candidate that it was not fitted to."""

    coefficients: Values
    deviation: Values

    def __call__(self, points: Points) -> Values:
        """Expected statistics (n, k) of settings (n, DIMENSIONS)."""
        return _terms(points) @ self.coefficients


def fit_statistics(points: Points, described: Values) -> Fit:
    """Ridge regression of statistics (n, k) on settings (n, DIMENSIONS); its misses are those of leaving one candidate out."""
    terms = _terms(points)
    penalty = np.eye(terms.shape[1]) * RIDGE
    penalty[0, 0] = 1e-9
    solved = np.linalg.solve(terms.T @ terms + penalty, terms.T)
    coefficients = solved @ described
    leverage = np.minimum(np.einsum("ij,ji->i", terms, solved), 0.95)
    missed = (described - terms @ coefficients) / (1 - leverage)[:, None]
    return Fit(coefficients, np.sqrt(np.square(missed).mean(axis=0)))


def _terms(points: Points) -> Values:
    """1, x and all products of two settings, x from -1 to 1."""
    centred = 2 * points - 1
    rows, columns = np.triu_indices(DIMENSIONS)
    return np.concatenate([np.ones((len(points), 1)), centred, centred[:, rows] * centred[:, columns]], axis=1)


class VoteModel:
    """The likelihood of settings given the noisy votes of all rounds."""

    def __init__(self, rounds: list[Round], deviation: float, votes: int, rng: np.random.Generator) -> None:
        """`deviation`: of the noise on each sum. `votes`: of a patient in a round. `rng`: draws the patients who are expected to vote."""
        self.rounds, self.noise, self.votes = rounds, deviation, votes
        self.fit = fit_statistics(np.concatenate([one.points for one in rounds]), np.concatenate([one.described for one in rounds]))
        apart = np.sqrt(1 + np.square(self.fit.deviation))
        self.voters = rng.standard_normal((VOTERS, len(apart))) * apart  # the same ones for all settings
        # The number of patients as the noisy sums show it: the true one would be a fact about patients that no noise protects.
        self.patients = max(1.0, float(np.mean([one.noisy.sum() for one in rounds])) / votes)

    def expected(self, points: Points) -> list[Values]:
        """Each round's share of patients (m, n) who vote for each of its candidates, for settings (m, DIMENSIONS)."""
        patients = (self.fit(points)[:, None] + self.voters).reshape(-1, self.voters.shape[1])
        shares = []
        for one in self.rounds:
            apart = np.square(one.described).sum(axis=1) - 2 * patients @ one.described.T  # less what all candidates share
            nearest = np.argpartition(apart, self.votes - 1, axis=1)[:, : self.votes]
            ballots = np.zeros(apart.shape)
            np.put_along_axis(ballots, nearest, 1.0, axis=1)
            shares.append(ballots.reshape(len(points), VOTERS, -1).mean(axis=1))
        return shares

    def log_likelihood(self, points: Points) -> Values:
        """(m,) of settings (m, DIMENSIONS): normal sums of votes with the noise, the chance of who votes, and the model's own error."""
        total = np.zeros(len(points))
        for one, share in zip(self.rounds, self.expected(points), strict=True):
            mean = self.patients * share
            misfit = np.square(MISFIT * mean) + (FLOOR * self.patients * self.votes) ** 2
            variance = self.noise**2 + mean * (1 - share) + misfit + 1 / 12  # of whole numbers
            total -= 0.5 * (np.square(one.noisy - mean) / variance + np.log(variance)).sum(axis=1)
        return total


def posterior_samples(model: VoteModel, prior: Points, rng: np.random.Generator) -> Points:
    """Equally weighted samples of the posterior.

    Args:
        model: the likelihood.
        prior: (m, DIMENSIONS) samples, evenly over the ranges.
        rng: of resampling and moves.

    Returns:
        (m, DIMENSIONS).
    """
    samples, before = prior.copy(), 0.0
    known = model.log_likelihood(samples)
    for temperature in TEMPERATURES:
        # weigh and resample, evenly spaced: a sample of weight w comes back m w times, rounded up or down
        weights = np.exp((temperature - before) * (known - known.max()))
        places = (np.arange(len(samples)) + rng.random()) / len(samples)
        chosen = np.minimum(np.searchsorted(np.cumsum(weights / weights.sum()), places), len(samples) - 1)
        samples, known, before = samples[chosen], known[chosen], temperature
        # move: steps as wide as the samples, so that copies part
        for _ in range(MOVES):
            step = (2.38 / DIMENSIONS**0.5) * np.maximum(samples.std(axis=0), 0.01) * rng.standard_normal(samples.shape)
            tried = reflected(samples + step * rng.choice([0.3, 1.0], (len(samples), 1)))
            likelihood = model.log_likelihood(tried)
            accepted = np.log(rng.random(len(samples))) < temperature * (likelihood - known)
            samples[accepted], known[accepted] = tried[accepted], likelihood[accepted]
    return samples
