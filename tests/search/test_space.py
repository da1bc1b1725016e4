"""Pareto front, knee and hypervolume by hand; which points a study may have."""

from __future__ import annotations

import pytest

from angiosynth.errors import InputError
from angiosynth.search.results import TrialRow, chosen, hypervolume, hypervolumes, knee, pareto_front


def row(number: int, dsc: float | None, hd95_mm: float | None) -> TrialRow:
    return TrialRow(number, "fail" if dsc is None else "complete", {}, dsc, hd95_mm, "", 1.0, "")


# 0, 1 and 2 are the front; 3 is worse than 1 in both, 4 equals 3 in DSC, 5 has failed.
ROWS = [row(0, 0.5, 5.0), row(1, 0.7, 6.0), row(2, 0.8, 15.0), row(3, 0.6, 8.0), row(4, 0.6, 9.0), row(5, None, None)]


def test_the_front_is_what_nothing_is_better_than() -> None:
    assert [point.number for point in pareto_front(ROWS)] == [2, 1, 0]
    assert [point.number for point in pareto_front([row(0, 0.5, 5.0), row(1, 0.5, 5.0), row(2, 0.5, 6.0)])] == [0, 1]
    assert pareto_front([row(0, None, None)]) == ()


def test_the_knee_gives_most_of_both() -> None:
    # Scaled to the front: trial 0 (0, 1), trial 1 (0.667, 0.9), trial 2 (1, 0); the sums are 1, 1.567 and 1.
    assert knee(pareto_front(ROWS)).number == 1
    # A dent: (0.1, 0.1) between the ends sums to 0.2, so an end is taken, the one with more DSC.
    assert knee([row(0, 0.5, 5.0), row(1, 0.53, 14.0), row(2, 0.8, 15.0)]).number == 2
    assert knee([row(7, 0.5, 5.0)]).number == 7
    assert [chosen(pareto_front(ROWS), rule)[0].number for rule in ("knee", "dsc", "hd95_mm")] == [1, 2, 0]
    with pytest.raises(InputError, match="no complete trial"):
        knee([])


def test_the_hypervolume_is_the_area_behind_the_front() -> None:
    assert hypervolume([(0.5, 5.0)], 10.0) == pytest.approx(0.5 * 5 / 10)
    # 0.8 wide and 2 deep, and what (0.5, 5) adds: 0.5 wide, 3 deeper.
    assert hypervolume([(0.5, 5.0), (0.8, 8.0)], 10.0) == pytest.approx((0.8 * 2 + 0.5 * 3) / 10)
    assert hypervolume([(0.5, 5.0), (0.8, 8.0), (0.4, 9.0)], 10.0) == pytest.approx(0.31), "a dominated point adds nothing"
    assert hypervolume([(0.9, 12.0)], 10.0) == 0.0, "nor one beyond the box"
    # The box ends at 1.1 times the worst, 16.5 mm.
    steps = dict(hypervolumes([ROWS[0], ROWS[5], ROWS[2]]))
    assert steps == pytest.approx({0: 0.5 * 11.5 / 16.5, 2: (0.8 * 1.5 + 0.5 * 10) / 16.5})
