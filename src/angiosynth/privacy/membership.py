"""Statistics of membership inference attacks, from one score for each patient.

The unit is the person, not the patch: the attacker is assumed to hold a person's patches, scores each, and combines them to one score,
which is high if the person was probably in the training set. Members are training patients, non-members are test patients. Validation
patients are neither, since they were used to choose the checkpoint.

The main statistic is the AUC, the probability that a member scores above a non-member. It averages over all thresholds and hides an
attack that recognises a few people with certainty, so true positive rates at low false positive rates are reported too ("Membership
inference attacks from first principles", IEEE S&P 2022). The p of the AUC is that of the rank test, which is exact for few patients,
where a bootstrap interval is inaccurate.
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
RATES = (0.10, 0.01)  # false positive rates at which the true positive rate is reported
LEAST = 2  # fewest members and fewest non-members for a bootstrap interval


@dataclass(frozen=True)
class Patients:
    """Scores of members and of non-members, one for each patient; higher for membership."""

    members: Scores  # (m,)
    others: Scores  # (n,)


def by_patient(values: NDArray[np.floating[Any]], patient: NDArray[np.str_], share: float = 1.0) -> dict[str, float]:
    """Combine scores of patches to one score for each patient: the mean over the patient's highest `share` of scores, at least one.

    A share of 1 detects that most of a patient's patches are near to the set, a small share detects a few copies among many patches.

    Args:
        values: (n,) scores of patches.
        patient: (n,) name of each patch's patient.
        share: in (0, 1].
    """
    scores = {}
    for name in np.unique(patient):
        ranked = np.sort(np.asarray(values[patient == name], np.float64))[::-1]
        scores[str(name)] = float(ranked[: max(1, round(share * len(ranked)))].mean())
    return scores


def split_scores(scores: Mapping[str, float], members: tuple[str, ...], others: tuple[str, ...]) -> Patients:
    """Separate patients' scores into members and non-members."""
    return Patients(np.array([scores[name] for name in members]), np.array([scores[name] for name in others]))


def auc(members: Scores, others: Scores) -> float:
    """Area under the ROC curve: the probability that a member scores above a non-member, ties counted by half."""
    above, ties = members[:, None] > others, members[:, None] == others
    return float((above + 0.5 * ties).mean())


def true_positive_rate(members: Scores, others: Scores, false_positive_rate: float) -> float:
    """Share of members above the threshold that at most a share `false_positive_rate` of non-members exceeds.

    With n non-members, false positive rates are multiples of 1/n; below 1/n this is the share of members above every non-member.
    """
    allowed = math.floor(false_positive_rate * len(others) + 1e-9)
    return 1.0 if allowed >= len(others) else float((members > np.sort(others)[::-1][allowed]).mean())


def rank_p(members: Scores, others: Scores) -> float:
    """p of the one-sided Mann-Whitney test that members score above non-members.

    Exact without ties and for few patients, otherwise the normal approximation, with `least_p` as lower bound.
    """
    if len(np.unique(np.concatenate([members, others]))) == 1:
        return 1.0
    tied = len(np.unique(np.concatenate([members, others]))) < len(members) + len(others)
    few = math.comb(len(members) + len(others), len(members)) < 1e9
    p = float(mannwhitneyu(members, others, alternative="greater", method="exact" if few and not tied else "asymptotic").pvalue)
    return max(p, least_p(len(members), len(others)))


def least_p(members: int, others: int) -> float:
    """The smallest p that the rank test can give for these numbers of patients: that of all members above all others."""
    return 1.0 / math.comb(members + others, members)


def membership_statistics(attack: Patients, control: Patients, bootstrap: int, seed: int) -> dict[str, Any]:
    """Compute the statistics of an attack and of its control, which does not use the generator.

    If training and test patients differ by chance, for instance in their fraction of vessel, the control recognises members too. Only the
    excess of the attack's AUC over the control's is due to the generator.

    Args:
        attack: scores of the attack.
        control: scores of the control, of the same patients in the same order.
        bootstrap: number of resamples.
        seed: seed of the resamples.

    Returns:
        auc, tpr_10, tpr_1, control (AUC of the control) and excess (auc - control), each with _low and _high, the 95% percentile interval
        (0..1, for the excess -1..1, if a group has fewer than two patients); p; least_p; members, others (numbers of patients);
        member_scores, other_scores (sorted, so that positions identify nobody).
    """
    rng = np.random.default_rng(seed)
    m, n = len(attack.members), len(attack.others)
    # Members and non-members are resampled separately, with the same people for attack and control, so that the excess is paired.
    draws = [(rng.integers(m, size=m), rng.integers(n, size=n)) for _ in range(bootstrap)]

    def figures(rows: NDArray[np.int64], columns: NDArray[np.int64]) -> dict[str, float]:
        attack_auc, control_auc = (auc(scores.members[rows], scores.others[columns]) for scores in (attack, control))
        rates = {f"tpr_{rate * 100:g}": true_positive_rate(attack.members[rows], attack.others[columns], rate) for rate in RATES}
        return {"auc": attack_auc, **rates, "control": control_auc, "excess": attack_auc - control_auc}

    statistics: dict[str, Any] = dict(figures(np.arange(m), np.arange(n)))
    resampled = [figures(*draw) for draw in draws]
    for name in tuple(statistics):
        low, high = np.percentile([resample[name] for resample in resampled], (2.5, 97.5))
        if min(m, n) < LEAST:
            low, high = -1.0 if name == "excess" else 0.0, 1.0
        statistics |= {f"{name}_low": min(float(low), statistics[name]), f"{name}_high": max(float(high), statistics[name])}
    statistics |= {"p": rank_p(attack.members, attack.others), "least_p": least_p(m, n), "members": m, "others": n}
    return statistics | {"member_scores": np.sort(attack.members).tolist(), "other_scores": np.sort(attack.others).tolist()}
