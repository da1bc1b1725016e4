"""What an audit can find: by counting all orders, and as the rank test itself does."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from angiosynth.privacy.membership import rank_p
from angiosynth.privacy.power import _critical_count, _pair_counts, audit_power, least_others


@pytest.mark.parametrize(("members", "others"), [(1, 1), (3, 2), (2, 4), (4, 4)])
def test_orders_are_counted(members: int, others: int) -> None:
    counts = [0] * (members * others + 1)
    for places in itertools.combinations(range(members + others), members):
        counts[sum(place - number for number, place in enumerate(places))] += 1
    assert _pair_counts(members, others).tolist() == counts


def test_the_critical_count_is_that_of_the_rank_test() -> None:
    """Of 8 and 4 people, all orders that differ in one pair from the perfect one."""
    scores = np.arange(12.0)
    others, members = scores[:4], scores[4:]
    assert rank_p(members, others) == pytest.approx(1 / 495)
    assert _critical_count(8, 4, 1 / 495 + 1e-9) == 32
    swapped = np.array([0.0, 1.0, 2.0, 4.5])
    assert _critical_count(8, 4, rank_p(members, swapped) + 1e-9) == 31
    assert _critical_count(8, 4, 1 / 500) == 33


def test_power_grows_with_people_and_leak_and_is_the_level_without_a_leak() -> None:
    small, large = (audit_power(*people, 0.05 / 13) for people in ((8, 4), (40, 20)))
    assert small["0.7"] < small["0.8"] < small["0.9"] < large["0.9"]
    assert large["0.9"] > 0.95
    assert audit_power(8, 4, 0.05 / 13) == small
    assert audit_power(8, 4, 1 / 500) == {"0.7": 0.0, "0.8": 0.0, "0.9": 0.0}


def test_power_by_hand_for_one_pair() -> None:
    """One member above one other is an AUC's definition; at level 1/2 that is significant."""
    assert audit_power(1, 1, 0.5) == pytest.approx({"0.7": 0.7, "0.8": 0.8, "0.9": 0.9}, abs=0.02)


@pytest.mark.parametrize(("members", "level", "others"), [(1, 0.05, 19), (8, 0.05 / 13, 4), (8, 0.05, 2), (40, 0.05 / 13, 2)])
def test_the_fewest_others(members: int, level: float, others: int) -> None:
    assert least_others(members, level) == others
