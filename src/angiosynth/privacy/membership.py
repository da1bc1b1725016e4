"""Who was in the training set? Scores per patient, and what they amount to: AUC, true positives at few false ones, intervals.

A person is what is to be protected, not a patch: an attacker holds a person's patches, makes one score of them, and the greater it is
the surer he is that the person was trained on. Members are training patients, non-members test patients; validation patients, who
chose the checkpoint, are neither.
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

    A share of 1 finds a set that is near a patient all over, a small one finds a few copies among many patches.
    """
    found = {}
    for name in np.unique(patient):
        ranked = np.sort(np.asarray(values[patient == name], np.float64))[::-1]
        found[str(name)] = float(ranked[: max(1, round(share * len(ranked)))].mean())
    return found


def of_split(scores: Mapping[str, float], members: tuple[str, ...], others: tuple[str, ...]) -> Patients:
    """The scores of training patients and of test patients."""
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
    """Chance that members drawn at random rank so high or higher: the one-sided Mann-Whitney test, exact where there are no ties
    and few patients."""
    if len(np.unique(np.concatenate([members, others]))) == 1:
        return 1.0
    tied = len(np.unique(np.concatenate([members, others]))) < len(members) + len(others)
    few = math.comb(len(members) + len(others), len(members)) < 1e9
    return float(mannwhitneyu(members, others, alternative="greater", method="exact" if few and not tied else "asymptotic").pvalue)


def least_p(members: int, others: int) -> float:
    """The smallest p that so many patients can give: all members above all others."""
    return 1.0 / math.comb(members + others, members)


def membership(attack: Patients, control: Patients, bootstrap: int, seed: int) -> dict[str, Any]:
    """What an attack's scores are worth beside those of a control that knows nothing of the GAN.

    Where training and test patients differ anyway, such as in how much vessel a patch holds, a control "finds" members too. What the
    attack has above it is the GAN's doing.

    Args:
        attack, control: of the same patients in the same order.
        bootstrap: resamples; members and non-members are drawn apart, for attack and control alike, so that their difference is paired.
        seed: of the resamples.

    Returns:
        auc, tpr_10, tpr_1, control, excess (auc - control), each with _low and _high, 95% percentile intervals (0..1, and -1..1 for
        the excess, where a side has fewer than two patients); p; least_p; members, others (numbers); member_scores, other_scores
        (sorted, so that no place tells a patient).
    """
    rng = np.random.default_rng(seed)
    m, n = len(attack.members), len(attack.others)
    draws = [(rng.integers(m, size=m), rng.integers(n, size=n)) for _ in range(bootstrap)]

    def numbers(rows: NDArray[np.int64], columns: NDArray[np.int64]) -> dict[str, float]:
        own, plain = auc(attack.members[rows], attack.others[columns]), auc(control.members[rows], control.others[columns])
        rates = {f"tpr_{rate * 100:g}": true_positive_rate(attack.members[rows], attack.others[columns], rate) for rate in RATES}
        return {"auc": own, **rates, "control": plain, "excess": own - plain}

    found: dict[str, Any] = dict(numbers(np.arange(m), np.arange(n)))
    resampled = [numbers(*draw) for draw in draws]
    for name in tuple(found):
        low, high = np.percentile([one[name] for one in resampled], (2.5, 97.5))
        if min(m, n) < LEAST:
            low, high = -1.0 if name == "excess" else 0.0, 1.0
        found |= {f"{name}_low": min(float(low), found[name]), f"{name}_high": max(float(high), found[name])}
    found |= {"p": rank_p(attack.members, attack.others), "least_p": least_p(m, n), "members": m, "others": n}
    return found | {"member_scores": np.sort(attack.members).tolist(), "other_scores": np.sort(attack.others).tolist()}
