"""The worst-placed patient: the largest excess of a training patient's score over people who were not trained on.

An AUC is a mean over patients, which a leak of a single patient hardly changes. EDPB opinion 28/2024 asks for an insignificant likelihood
for each person, ISO/IEC 27559 for the maximum risk in addition to the mean.

Some people's patches are near to everybody's, with or without a generator. The control measures this, so its effect is removed from the
attack's scores by the regression slope within the two groups, as in an analysis of covariance.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import stats

from angiosynth.privacy.membership import Patients, Scores

LEAST_OTHERS = 3  # with fewer people, the deviation from a regression line has no degree of freedom


def patient_excess(attack: Patients, control: Patients) -> dict[str, Any]:
    """Compute each person's excess in an attack on membership, and test the largest excess of the members.

    Args:
        attack: scores of the attack, higher for membership.
        control: scores of the control, of the same people in the same order.

    Returns:
        member_excess, other_excess: sorted, so that positions identify nobody, in standard deviations of people who were not trained on,
        whose mean is 0. worst_excess: the largest of the members. worst_p: its p under the hypothesis that it is one more draw from the
        distribution of the others (Student's prediction interval), Bonferroni corrected by the number of members. With fewer than
        LEAST_OTHERS others, excesses are in units of the scores and worst_p is 1.
    """
    members, others = _matched(attack, control)
    m, n = len(members), len(others)
    centre = others.mean()
    deviation = float(others.std(ddof=1)) if n >= LEAST_OTHERS else 1.0
    deviation = deviation or 1.0  # 0 if all have the same score
    greatest = float(members.max() - centre) / deviation
    # n - 2 degrees of freedom: mean and slope are estimated.
    p = float(stats.t.sf(greatest / np.sqrt(1.0 + 1.0 / n), n - 2)) if n >= LEAST_OTHERS else 1.0
    excess = {
        f"{group}_excess": np.sort((scores - centre) / deviation).tolist() for group, scores in (("member", members), ("other", others))
    }
    return {**excess, "worst_excess": greatest, "worst_p": min(1.0, m * p)}


def _matched(attack: Patients, control: Patients) -> tuple[Scores, Scores]:
    """Scores of members and of others, with the effect of the control's scores removed."""
    # Pooled slope of the attack's scores over the control's, within the two groups.
    centred = [(scores - scores.mean(), baseline - baseline.mean()) for scores, baseline in _groups(attack, control)]
    products, squares = (sum(float(first @ second) for first, second in pairs) for pairs in (centred, [(c, c) for _, c in centred]))
    slope = products / squares if squares > 0 else 0.0
    members, others = (scores - slope * baseline for scores, baseline in _groups(attack, control))
    return members, others


def _groups(attack: Patients, control: Patients) -> tuple[tuple[Scores, Scores], tuple[Scores, Scores]]:
    return (attack.members, control.members), (attack.others, control.others)
