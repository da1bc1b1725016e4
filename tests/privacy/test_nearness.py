"""Nearer to training patients than to as many others: by hand, by counting all draws, and with p where nobody is known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from angiosynth.privacy.nearness import nearer_to_training


@pytest.mark.parametrize(("m", "k"), [(5, 2), (2, 5), (3, 3), (4, 1)])
def test_the_share_is_that_of_all_draws(m: int, k: int) -> None:
    rng = np.random.default_rng(m)
    training, others = rng.random((50, m)), rng.random((50, k))
    count = min(m, k)
    shares = [
        (training[:, list(near)].min(axis=1) < others[:, list(far)].min(axis=1)).mean()
        for near in itertools.combinations(range(m), count)
        for far in itertools.combinations(range(k), count)
    ]
    assert nearer_to_training(training, others, 5, 1)["nearer"] == pytest.approx(np.mean(shares))


def test_a_set_of_the_training_patients_is_reported_and_its_p_is_the_least() -> None:
    rng = np.random.default_rng(0)
    training, others = rng.random((300, 6)) - 1, rng.random((300, 4))
    near = nearer_to_training(training, others, 400, 1)
    assert near["nearer"] == near["nearer_high"] == 1.0
    assert near["nearer_p"] < 0.02  # one labelling of 210


def test_p_is_uniform_where_the_set_knows_nobody() -> None:
    """People differ, so that patches are no independent draws: the person is the unit."""
    rng = np.random.default_rng(2)
    p = []
    for _ in range(60):
        distance = rng.random((100, 9)) + rng.normal(0, 0.3, 9)
        p.append(nearer_to_training(distance[:, :6], distance[:, 6:], 60, 1)["nearer_p"])
    assert np.mean(np.array(p) <= 0.1) <= 0.2
    assert 0.35 < np.mean(p) < 0.65


def test_one_patient_has_no_interval() -> None:
    rng = np.random.default_rng(0)
    alone = nearer_to_training(rng.random((40, 6)), rng.random((40, 1)), 20, 1)
    assert (alone["nearer_low"], alone["nearer_high"]) == (0.0, 1.0)
