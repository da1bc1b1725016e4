"""The worst-placed patient: every training patient's own excess over matched people who were not trained on, and the greatest of them.

An AUC is a mean over patients, and a set that leads to one of them alone hardly moves it. EDPB opinion 28/2024 asks for an insignificant
likelihood for each person, ISO/IEC 27559 for the greatest risk beside the mean.

Some people's patches are near to everybody's, generator or not. The control tells how near, so people are matched by it: what an attack's
score owes to the control's is taken away by the slope within the two groups, as in an analysis of covariance.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import stats

from angiosynth.privacy.membership import Patients, Scores

LEAST_OTHERS = 3  # people, without whom a deviation about a line has no degree of freedom


def patient_excess(attack: Patients, control: Patients) -> dict[str, Any]:
    """Each person's excess in an attack on membership, and how improbable the greatest of training patients' is.

    Args:
        attack: scores of the attack, greater ones for membership.
        control: scores of the control, of the same people in the same order.

    Returns:
        member_excess, other_excess (sorted, so that no position reveals a patient), in standard deviations of people who were not trained
        on, whose mean is 0; worst_excess, the greatest of members'; worst_p, its p as that of one more of the others (Student's
        prediction interval), times the number of members, at most 1. With fewer than three others the excess is in units of the scores and
        worst_p is 1.
    """
    members, others = _matched(attack, control)
    m, n = len(members), len(others)
    centre = others.mean()
    deviation = float(others.std(ddof=1)) if n >= LEAST_OTHERS else 1.0
    deviation = deviation or 1.0  # people who are all alike
    greatest = float(members.max() - centre) / deviation
    # One degree of freedom goes to the mean, one to the slope.
    p = float(stats.t.sf(greatest / np.sqrt(1.0 + 1.0 / n), n - 2)) if n >= LEAST_OTHERS else 1.0
    excess = {
        f"{side}_excess": np.sort((scores - centre) / deviation).tolist() for side, scores in (("member", members), ("other", others))
    }
    return {**excess, "worst_excess": greatest, "worst_p": min(1.0, m * p)}


def _matched(attack: Patients, control: Patients) -> tuple[Scores, Scores]:
    """Scores of members and of others, less what the control's explain."""
    centred = [(side - side.mean(), plain - plain.mean()) for side, plain in _sides(attack, control)]
    products, squares = (sum(float(first @ second) for first, second in pairs) for pairs in (centred, [(c, c) for _, c in centred]))
    slope = products / squares if squares > 0 else 0.0
    members, others = (side - slope * plain for side, plain in _sides(attack, control))
    return members, others


def _sides(attack: Patients, control: Patients) -> tuple[tuple[Scores, Scores], tuple[Scores, Scores]]:
    return (attack.members, control.members), (attack.others, control.others)
