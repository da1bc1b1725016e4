"""Copies are counted where a patch is distinctive, person by person, and tested with the person as the unit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from angiosynth.privacy.alignment import Matches, Poses
from angiosynth.privacy.copy_counts import CopyThreshold, copy_statistics, counts_p, threshold_from
from angiosynth.privacy.memorisation import CopySearch, Suspicion
from angiosynth.settings.audit import AuditLimits

NONE = Matches(np.zeros(0), np.zeros(0, np.int64), Poses.of_symmetry(np.zeros(0, np.int64)))


def _suspicion(ratio: Any, apart: Any, person: Any) -> Suspicion:
    return Suspicion(np.array(ratio, np.float64), np.array(apart, np.float64)[:, None], np.array(person))


def _search(training: Suspicion, others: Suspicion) -> CopySearch:
    return CopySearch(training, others, np.zeros(0, np.int64), NONE)


def _counts(*values: int) -> Any:
    return np.array(values)


def test_the_threshold_is_by_real_patches_of_others() -> None:
    """Five of ten patches are distinctive; no more than a share of 0.25 of them may count: interpolated between 0.3 and 0.4."""
    apart = np.arange(1, 11) / 10
    ratio = [0.1, 0.1, 0.1, 0.1, 0.1, 0.2, 0.3, 0.4, 0.9, 0.8]
    reference = _search(_suspicion(ratio, apart, np.zeros(10, int)), _suspicion(ratio, apart, np.zeros(10, int)))
    threshold = threshold_from(reference, AuditLimits(copies=0.25, copy_ratio=0.5), 0.5)
    assert threshold.apart == pytest.approx([0.55])
    assert threshold.ratio == pytest.approx(0.3)
    assert threshold_from(reference, AuditLimits(copies=0.25, copy_ratio=0.2), 0.5).ratio == 0.2


def test_patches_that_show_nothing_set_no_distance() -> None:
    reference = _suspicion([0.9] * 4, [0.0, 0.0, 0.4, 0.6], [0] * 4)
    assert threshold_from(_search(reference, reference), AuditLimits(), 0.5).apart == pytest.approx([0.5])
    empty = _suspicion([0.0] * 2, [0.0, 0.0], [0] * 2)
    threshold = threshold_from(_search(empty, empty), AuditLimits(), 0.5)
    assert not threshold.passed(empty).any()


def test_flat_tissue_never_counts_however_near() -> None:
    threshold = CopyThreshold(0.5, np.array([0.2]))
    near = _suspicion([0.01, 0.01, 0.6], [0.1, 0.3, 0.3], [0, 1, 1])
    assert threshold.passed(near).tolist() == [False, True, False]


def test_counts_are_of_people_on_both_sides() -> None:
    training = _suspicion([0.1, 0.1, 0.1, 0.9], [1.0] * 4, [0, 0, 2, 1])
    others = _suspicion([0.9, 0.9, 0.2, 0.9], [1.0] * 4, [0, 1, 1, 0])
    numbers = copy_statistics(_search(training, others), CopyThreshold(0.5, np.array([0.5])), (3, 2), 200, 1)
    assert (numbers["copies"], numbers["copies_count"]) == (0.75, 3)
    assert numbers["copies_held_out"] == pytest.approx(0.5 * 3 / 4)
    assert (numbers["member_counts"], numbers["other_counts"]) == ([0, 1, 2], [0, 1])
    assert numbers["copies_low"] < 0.75 < numbers["copies_high"]
    assert numbers["least_ratio"] == 0.1


def test_copies_of_many_by_hand() -> None:
    """Without the greatest of either side, 12 copies of 7 people and none of 5."""
    p = counts_p(_counts(2, 2, 2, 2, 1, 1, 2, 5), _counts(0, 0, 0, 0, 0, 0))
    assert p["p_spread"] == pytest.approx((7 / 12) ** 12)
    assert p["p"] == pytest.approx(2 * (7 / 12) ** 12)


def test_many_copies_of_one_by_hand() -> None:
    p = counts_p(_counts(100, 0, 0, 0), _counts(0, 0, 0, 0, 0, 0))
    t = (np.sqrt(100.375) - np.sqrt(0.375)) / (0.5 * np.sqrt(1 + 1 / 6))
    assert p["p_worst"] == pytest.approx(4 * stats.t.sf(t, 5))
    assert p["p"] < 0.001 < p["p_spread"]


def test_a_few_patches_alike_to_one_person_are_no_leak() -> None:
    assert counts_p(_counts(10, 0, 0, 0, 0, 0, 0, 0), _counts(0, 0, 0, 0, 0, 0))["p"] > 0.03
    assert counts_p(_counts(20, 1, 0, 0), _counts(0, 30, 2, 1))["p"] > 0.5


@pytest.mark.parametrize("others", [(), (0,)])
def test_with_too_few_others_nothing_is_reported(others: tuple[int, ...]) -> None:
    assert counts_p(_counts(100, 100, 100), np.array(others, np.int64))["p"] == 1.0


@pytest.mark.parametrize("shape", [0.5, 3.0])
def test_false_alarms_are_rare_also_where_counts_vary_more_than_chance(shape: float) -> None:
    """Negative binomial counts of mean 1.5 for all people, 8 trained on and 6 not: p below 0.01 in about 1 of 100, not in 5."""
    rng = np.random.default_rng(3)
    draws = rng.poisson(rng.gamma(shape, 1.5 / shape, (1500, 14)))
    assert np.mean([counts_p(one[:8], one[8:])["p"] <= 0.01 for one in draws]) < 0.05
