"""When a training looks, and how its learning rates fall."""

from __future__ import annotations

import pytest

from angiosynth.generators.schedule import linear_decay, probe_steps, watch_steps


@pytest.mark.parametrize(
    ("steps", "probes", "expected"),
    [(100, 1, {100}), (100, 2, {75, 100}), (120, 3, {80, 100, 120}), (6, 6, {3, 4, 5, 6}), (7, 1, {7})],
)
def test_the_probe_looks_over_the_second_half(steps: int, probes: int, expected: set[int]) -> None:
    assert probe_steps(steps, probes) == expected


@pytest.mark.parametrize(
    ("steps", "expected"), [(1, {1}), (5, {1, 2, 5}), (96, {3, 6, 12, 24, 48, 96}), (1000, {31, 62, 125, 250, 500, 1000})]
)
def test_pairs_are_watched_twice_as_far_each_time(steps: int, expected: set[int]) -> None:
    assert watch_steps(steps) == expected


def test_rates_are_whole_in_the_first_half_and_fall_to_nothing() -> None:
    assert [linear_decay(done, 8) for done in range(9)] == [1, 1, 1, 1, 1, 0.75, 0.5, 0.25, 0]
