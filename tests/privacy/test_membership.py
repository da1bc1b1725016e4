"""Who was trained on: figures worked out by hand, and what an interval and a control do to them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from angiosynth.privacy.membership import (
    Patients,
    auc,
    by_patient,
    least_p,
    membership_statistics,
    rank_p,
    split_scores,
    true_positive_rate,
)

Numbers = st.lists(st.integers(0, 6), min_size=1, max_size=6)


def _scores(*values: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array(values, np.float64)


@pytest.mark.parametrize(
    ("members", "others", "expected"),
    [
        ((3, 4), (1, 2), 1.0),
        ((1, 2), (3, 4), 0.0),
        ((1, 3), (2,), 0.5),
        ((2, 3), (1, 2), 0.875),  # 2>1, 2=2, 3>1, 3>2: 3.5 of 4
        ((1, 1), (1, 1), 0.5),
    ],
)
def test_the_auc_by_hand(members: tuple[float, ...], others: tuple[float, ...], expected: float) -> None:
    assert auc(_scores(*members), _scores(*others)) == expected


@given(Numbers, Numbers)
def test_the_auc_counts_pairs_and_mirrors(members: list[int], others: list[int]) -> None:
    m, n = _scores(*members), _scores(*others)
    pairs = [1.0 if a > b else 0.5 if a == b else 0.0 for a in members for b in others]
    assert auc(m, n) == pytest.approx(np.mean(pairs))
    assert auc(m, n) + auc(n, m) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("rate", "expected"),
    [(0.0, 0.25), (0.2, 0.25), (0.25, 0.5), (0.5, 0.75), (1.0, 1.0)],  # others 1..4 allow 0, 0, 1, 2 and all of them
)
def test_true_positives_at_few_false_ones_by_hand(rate: float, expected: float) -> None:
    members, others = _scores(0.5, 2.5, 3.5, 9.0), _scores(1, 2, 3, 4)
    assert true_positive_rate(members, others, rate) == expected


def test_p_is_that_of_ranks() -> None:
    assert rank_p(_scores(5, 6, 7), _scores(1, 2)) == pytest.approx(1 / 10)  # 1 of the 10 ways to choose 3 of 5
    assert rank_p(_scores(5, 6, 1), _scores(3, 2)) == pytest.approx(4 / 10)  # ranks 1 4 5, 2 3 5, 2 4 5, 3 4 5
    assert rank_p(_scores(1, 1), _scores(1, 1)) == 1.0
    assert least_p(8, 4) == pytest.approx(1 / 495)
    assert least_p(4, 1) == pytest.approx(1 / 5)


def test_a_patients_score_is_of_all_patches_or_of_the_closest() -> None:
    names = np.array(["sub-01"] * 4 + ["sub-02"] * 2)
    values = _scores(1, 2, 3, 10, 5, 5)
    assert by_patient(values, names) == {"sub-01": 4.0, "sub-02": 5.0}
    assert by_patient(values, names, 0.25) == {"sub-01": 10.0, "sub-02": 5.0}
    sides = split_scores({"a": 1.0, "b": 2.0, "c": 3.0}, ("c",), ("b", "a"))
    assert (sides.members.tolist(), sides.others.tolist()) == ([3.0], [2.0, 1.0])


def test_what_the_control_finds_too_is_no_excess() -> None:
    rng = np.random.default_rng(0)
    leak = Patients(rng.normal(3, 1, 30), rng.normal(0, 1, 20))
    none = Patients(rng.normal(0, 1, 30), rng.normal(0, 1, 20))
    statistics = membership_statistics(leak, none, 200, 1)
    assert statistics["auc"] > 0.9
    assert statistics["excess_low"] > 0.2
    assert statistics["p"] < 0.001
    same = membership_statistics(leak, leak, 200, 1)
    assert (same["excess"], same["excess_low"], same["excess_high"]) == (0.0, 0.0, 0.0)
    assert same["auc_low"] <= same["auc"] <= same["auc_high"]
    assert statistics == membership_statistics(leak, none, 200, 1)


def test_one_patient_a_side_tells_nothing() -> None:
    statistics = membership_statistics(Patients(_scores(1, 2, 3), _scores(0)), Patients(_scores(1, 2, 3), _scores(2)), 20, 1)
    assert (statistics["auc"], statistics["auc_low"], statistics["auc_high"]) == (1.0, 0.0, 1.0)
    assert (statistics["excess_low"], statistics["excess_high"]) == (-1.0, 1.0)
    assert statistics["least_p"] == 0.25


def test_no_place_in_the_result_tells_a_patient() -> None:
    statistics = membership_statistics(Patients(_scores(3, 1, 2), _scores(5, 4)), Patients(_scores(1, 1, 1), _scores(1, 1)), 5, 1)
    assert (statistics["member_scores"], statistics["other_scores"]) == ([1.0, 2.0, 3.0], [4.0, 5.0])


def test_ties_give_no_p_below_that_of_the_best_order() -> None:
    """Copies that are found exactly tie at the greatest score; by the normal approximation p would be 0.0009."""
    members, others = np.array([0.0, 0, 0, 0, 0, 0, 0, -1]), np.array([-5.0, -6, -7, -8])
    assert rank_p(members, others) == pytest.approx(least_p(8, 4))


def test_a_split_of_members_alone_is_what_p_is_compared_with() -> None:
    """Disjoint halves of the people who were trained on differ by the split alone: their rank test is significant as often as it says."""
    rng = np.random.default_rng(1)
    scores = rng.gamma(1.0, size=12)  # skewed, since ranks alone matter
    halves = (rng.permutation(scores) for _ in range(400))
    significant = np.mean([rank_p(half[:6], half[6:]) <= 0.05 for half in halves])
    assert 0.02 < significant < 0.08
