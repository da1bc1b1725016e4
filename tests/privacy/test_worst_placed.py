"""Each patient's excess: by hand, matched by the control, and how often chance makes one stand out."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from angiosynth.privacy.membership import Patients
from angiosynth.privacy.worst_placed import patient_excess


def _patients(members: list[float], others: list[float]) -> Patients:
    return Patients(np.array(members), np.array(others))


def test_the_excess_by_hand() -> None:
    """A control that is the same for all explains nothing: the others have mean 2 and deviation 1, and 7 lies 5 deviations above."""
    result = patient_excess(_patients([7.0, 2.0], [1.0, 2.0, 3.0]), _patients([0.0, 0.0], [0.0, 0.0, 0.0]))
    assert result["member_excess"] == [0.0, 5.0]
    assert result["other_excess"] == [-1.0, 0.0, 1.0]
    assert result["worst_excess"] == 5.0
    assert result["worst_p"] == pytest.approx(2 * stats.t.sf(5 / np.sqrt(4 / 3), 1))


def test_who_is_near_to_everybody_is_not_called_recognised() -> None:
    """Scores that follow the control's: the patient with the greatest score has the greatest of both, and no excess."""
    control = _patients([9.0, 1.0, 2.0], [1.0, 2.0, 3.0, 4.0])
    attack = _patients([18.1, 2.0, 3.9], [2.1, 3.9, 6.0, 8.0])
    assert patient_excess(attack, control)["worst_p"] > 0.2
    plain = _patients([0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0])
    assert patient_excess(attack, plain)["worst_p"] < 0.1


@pytest.mark.parametrize("others", [[1.0], [1.0, 5.0]])
def test_with_too_few_others_nobody_stands_out(others: list[float]) -> None:
    assert patient_excess(_patients([99.0], others), _patients([0.0], [0.0] * len(others)))["worst_p"] == 1.0


def test_people_who_are_all_alike_have_no_excess() -> None:
    result = patient_excess(_patients([1.0, 1.0], [1.0, 1.0, 1.0]), _patients([1.0, 1.0], [1.0, 1.0, 1.0]))
    assert result["member_excess"] == [0.0, 0.0]
    assert result["worst_p"] == 1.0


@pytest.mark.parametrize(("members", "others"), [(8, 4), (8, 16), (40, 20)])
def test_chance_makes_somebody_stand_out_in_at_most_one_audit_of_twenty(members: int, others: int) -> None:
    """Scores that depend on the control and know nobody; and with one patient who is known, that patient is found."""
    rng = np.random.default_rng(1)
    seen: list[bool] = []
    known: list[bool] = []
    for _ in range(400):
        control = rng.standard_normal(members + others)
        attack = 2.0 * control + rng.standard_normal(members + others)
        for leak, values in ((0.0, seen), (12.0, known)):
            attack[0] += leak
            sides = (Patients(scores[:members], scores[members:]) for scores in (attack, control))
            values.append(patient_excess(*sides)["worst_p"] <= 0.05)
    assert np.mean(seen) <= 0.07  # 0.05 and three standard errors of it
    assert np.mean(known) > (0.9 if others > 4 else 0.0)
