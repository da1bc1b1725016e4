"""Settings are found by what the noisy votes speak for; where noise drowns them, nothing is claimed."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from angiosynth.generators.private_evolution import posterior as posterior_module
from angiosynth.generators.private_evolution.posterior import Round, VoteModel, fit_statistics, posterior_samples
from angiosynth.generators.private_evolution.space import DIMENSIONS, Points, spread_points
from angiosynth.generators.private_evolution.voting import tally

HIDDEN = np.linspace(0.2, 0.8, DIMENSIONS)
SLOPES = np.random.default_rng(0).normal(size=(DIMENSIONS, 12)) * 8  # statistics a setting, in deviations between heads


def statistics(points: Points) -> NDArray[np.float64]:
    """Of an exact scanner: linear, but for one product."""
    values = (2 * points - 1) @ SLOPES
    values[:, 0] += 6 * (2 * points[:, 0] - 1) * (2 * points[:, 1] - 1)
    return np.asarray(values)


def voted(patients: int, deviation: float, seed: int = 1) -> list[Round]:
    """Three rounds of patients of the hidden scanner, with noise of a deviation on each sum of votes."""
    rng = np.random.default_rng(seed)
    people = statistics(HIDDEN[None]) + rng.standard_normal((patients, SLOPES.shape[1]))
    rounds = []
    for number in range(3):
        points = spread_points(32, 10 + number)
        noisy = tally(people, statistics(points), 4) + np.rint(deviation * rng.standard_normal(32))
        rounds.append(Round(points, statistics(points), noisy.astype(np.float64)))
    return rounds


def samples(patients: int, deviation: float) -> Points:
    rng = np.random.default_rng(3)
    return posterior_samples(VoteModel(voted(patients, deviation), deviation, 4, rng), spread_points(128, 1), rng)


def test_a_quadratic_scanner_is_fitted_and_what_it_misses_is_small() -> None:
    points, others = spread_points(160, 1), spread_points(64, 2)
    fit = fit_statistics(points, statistics(points))
    assert np.abs(fit(others) - statistics(others)).max() < 1
    assert fit.deviation.max() < 1


def test_a_miss_of_the_fit_is_that_of_a_candidate_left_out() -> None:
    rng = np.random.default_rng(5)
    points = spread_points(80, 1)
    values = rng.normal(size=(80, 2))  # nothing that settings say
    left_out = [fit_statistics(np.delete(points, row, 0), np.delete(values, row, 0))(points[row : row + 1])[0] for row in range(80)]
    expected = np.sqrt(np.square(values - left_out).mean(axis=0))
    np.testing.assert_allclose(fit_statistics(points, values).deviation, expected, rtol=0.02)


def test_votes_are_expected_where_drawn_patients_put_them() -> None:
    """By hand: every patient of a scanner far nearer to the first two candidates gives his two votes to them."""
    points = spread_points(8, 1)
    model = VoteModel([Round(points, statistics(points), np.zeros(8))], 1.0, 2, np.random.default_rng(1))
    (share,) = model.expected(points)
    assert share.shape == (8, 8)
    np.testing.assert_allclose(share.sum(axis=1), 2)  # two votes each
    assert (share.diagonal() > 0.9).all()


def test_the_number_of_patients_is_read_from_noisy_sums_alone() -> None:
    points = spread_points(4, 1)
    rounds = [Round(points, statistics(points), np.array(noisy, float)) for noisy in ([10, 2, 0, 0], [6, 6, 3, 1])]
    assert VoteModel(rounds, 1.0, 2, np.random.default_rng(1)).patients == pytest.approx((12 + 16) / 2 / 2)
    nobody = [Round(points, statistics(points), np.full(4, -3.0))]
    assert VoteModel(nobody, 1.0, 2, np.random.default_rng(1)).patients == 1


def test_clear_votes_narrow_the_samples_around_the_hidden_settings() -> None:
    near, prior = samples(100, 2.0), spread_points(128, 1)
    missed = np.sqrt(np.square(near - HIDDEN).mean())
    assert missed < 0.75 * np.sqrt(np.square(prior - HIDDEN).mean())
    assert ((near >= 0) & (near <= 1)).all()


def test_drowned_votes_leave_the_samples_spread_over_the_ranges() -> None:
    far = samples(3, 200.0)
    assert far.std(axis=0).min() > 0.2  # an even distribution has 0.29
    assert np.abs(far.mean(axis=0) - 0.5).max() < 0.12


def test_samples_are_the_same_for_the_same_random_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posterior_module, "TEMPERATURES", (0.5, 1.0))
    np.testing.assert_array_equal(samples(10, 5.0), samples(10, 5.0))
