"""Settings of the phantom as points of the unit cube."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from angiosynth.generators.private_evolution.space import DIMENSIONS, RANGES, candidate_at, point_of, spread_points, varied


@given(st.lists(st.floats(0, 1), min_size=DIMENSIONS, max_size=DIMENSIONS))
def test_a_point_and_its_settings_are_each_others_inverse(places: list[float]) -> None:
    candidate = candidate_at(np.array(places))
    for name, spanned in RANGES.items():
        assert spanned.low - 1e-9 <= getattr(candidate, name) <= spanned.high + 1e-9 or name == "slabs"
    assert candidate.slabs in (1, 2, 3, 4)
    np.testing.assert_allclose(point_of(candidate)[1:], places[1:], atol=1e-9)  # slabs are whole


def test_first_candidates_are_spread_over_the_cube_by_the_seed_alone() -> None:
    points = spread_points(24, 1)
    np.testing.assert_array_equal(points, spread_points(24, 1))
    assert (points != spread_points(24, 2)).any()
    assert points.shape == (24, DIMENSIONS)
    assert ((points < 0.5).sum(axis=0) >= 8).all()
    assert ((points > 0.5).sum(axis=0) >= 8).all()


def test_children_are_near_their_parents_and_in_the_cube() -> None:
    parents = np.array([np.full(DIMENSIONS, 0.02), np.full(DIMENSIONS, 0.9)])
    children = varied(parents, np.array([1.0, 0.0]), 200, 0.05, np.random.default_rng(1))
    assert ((children >= 0) & (children <= 1)).all()
    assert np.abs(children - 0.02).max() < 0.3
    mixed = varied(parents, np.array([0.5, 0.5]), 200, 0.001, np.random.default_rng(1))
    assert set(np.round(mixed[:, 0], 2).tolist()) == {0.24, 0.68}  # half way from each parent to their mean
