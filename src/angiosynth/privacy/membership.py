"""Membership inference: who was in the training set? Statistics of an attack's scores, one score a patient.

What is protected is a person, not a patch. So an attacker is thought to hold a person's patches, to score each, and to make one score
of them; the greater it is, the surer the attacker that the person was trained on. Members are training patients, non-members test
patients. Validation patients chose the checkpoint, so they are neither.

The main statistic is the AUC, the probability that a member scores above a non-member. It is an average over all thresholds, and an
attack that recognises few people for certain is a harm that an average hides; so true positive rates at low false positive rates stand
beside it ("Membership inference attacks from first principles", IEEE S&P 2022). Its p is that of the rank test on
the same pairs, which is exact for few patients, where an interval from a bootstrap is rough.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu

Scores = NDArray[np.float64]
RATES = (0.10, 0.01)  # false positive rates at which true positives are counted
LEAST = 2  # patients a side, without which there is nothing to resample


@dataclass(frozen=True)
class Patients:
    """Scores of members and of non-members, one a patient; greater ones speak for membership."""

    members: Scores  # (m,)
    others: Scores  # (n,)


def by_patient(values: NDArray[np.floating[Any]], patient: NDArray[np.str_], share: float = 1.0) -> dict[str, float]:
    """One score a patient from one a patch: the mean over the patient's greatest `share` of values, at least one of them.

    A share of 1 detects a set that is near a patient all over, a small one detects a few copies among many patches.
    """
    scores = {}
    for name in np.unique(patient):
        ranked = np.sort(np.asarray(values[patient == name], np.float64))[::-1]
        scores[str(name)] = float(ranked[: max(1, round(share * len(ranked)))].mean())
    return scores


def split_scores(scores: Mapping[str, float], members: tuple[str, ...], others: tuple[str, ...]) -> Patients:
    """Separate the scores of training patients and of test patients."""
    return Patients(np.array([scores[name] for name in members]), np.array([scores[name] for name in others]))


def auc(members: Scores, others: Scores) -> float:
    """Probability that a member scores above a non-member, ties by half: the area under the ROC curve."""
    above, ties = members[:, None] > others, members[:, None] == others
    return float((above + 0.5 * ties).mean())


def true_positive_rate(members: Scores, others: Scores, false_positive_rate: float) -> float:
    """Share of members above a threshold that at most this share of non-members passes.

    With n non-members rates come in steps of 1/n: below 1/n it is the share of members above every non-member.
    """
    allowed = math.floor(false_positive_rate * len(others) + 1e-9)
    return 1.0 if allowed >= len(others) else float((members > np.sort(others)[::-1][allowed]).mean())


def rank_p(members: Scores, others: Scores) -> float:
    """Probability that members drawn at random would rank so high or higher: the one-sided Mann-Whitney test.

    Exact where there are no ties and few patients, else by the normal approximation, but never below the least that is possible.
    """
    if len(np.unique(np.concatenate([members, others]))) == 1:
        return 1.0
    tied = len(np.unique(np.concatenate([members, others]))) < len(members) + len(others)
    few = math.comb(len(members) + len(others), len(members)) < 1e9
    p = float(mannwhitneyu(members, others, alternative="greater", method="exact" if few and not tied else "asymptotic").pvalue)
    return max(p, least_p(len(members), len(others)))


def least_p(members: int, others: int) -> float:
    """The smallest p that so many patients can give: all members above all others."""
    return 1.0 / math.comb(members + others, members)


def membership_statistics(attack: Patients, control: Patients, bootstrap: int, seed: int) -> dict[str, Any]:
    """Statistics of an attack, beside those of a control that knows nothing of the generator.

    Where training and test patients differ anyway, such as in how much vessel a patch holds, the control recognises members too. Only
    the attack's AUC above the control's is due to the generator.

    Args:
        attack: scores of the attack.
        control: scores of the control, of the same patients in the same order.
        bootstrap: number of resamples.
        seed: of the resamples.

    Returns:
        auc, tpr_10, tpr_1, control, excess (auc - control), each with _low and _high, 95% percentile intervals (0..1, and -1..1 for
        the excess, where a side has fewer than two patients); p; least_p; members, others (numbers); member_scores, other_scores
        (sorted, so that no position reveals a patient).
    """
    rng = np.random.default_rng(seed)
    m, n = len(attack.members), len(attack.others)
    # Members and non-members are resampled apart, the same people for attack and control, so that their difference is paired.
    draws = [(rng.integers(m, size=m), rng.integers(n, size=n)) for _ in range(bootstrap)]

    def figures(rows: NDArray[np.int64], columns: NDArray[np.int64]) -> dict[str, float]:
        attacked, plain = (auc(scores.members[rows], scores.others[columns]) for scores in (attack, control))
        rates = {f"tpr_{rate * 100:g}": true_positive_rate(attack.members[rows], attack.others[columns], rate) for rate in RATES}
        return {"auc": attacked, **rates, "control": plain, "excess": attacked - plain}

    statistics: dict[str, Any] = dict(figures(np.arange(m), np.arange(n)))
    resampled = [figures(*draw) for draw in draws]
    for name in tuple(statistics):
        low, high = np.percentile([one[name] for one in resampled], (2.5, 97.5))
        if min(m, n) < LEAST:
            low, high = -1.0 if name == "excess" else 0.0, 1.0
        statistics |= {f"{name}_low": min(float(low), statistics[name]), f"{name}_high": max(float(high), statistics[name])}
    statistics |= {"p": rank_p(attack.members, attack.others), "least_p": least_p(m, n), "members": m, "others": n}
    return statistics | {"member_scores": np.sort(attack.members).tolist(), "other_scores": np.sort(attack.others).tolist()}
