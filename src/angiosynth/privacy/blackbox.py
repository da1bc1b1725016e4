"""Attacks of whoever holds the synthetic set alone.

Membership: the full black-box attack of GAN-Leaks (ACM CCS 2020, section 4.2). A generator that repeats its training data draws patches
near to it, so a patch that was trained on lies nearer to the set than one that was not; the score is minus that distance.

Inference: an attacker who holds a person's image takes the label of the nearest synthetic image as a guess of that person's label
(after Anonymeter, PETS 2023, section 4.3). The score is how good the guess is.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from angiosynth.arrays import LabelPatches
from angiosynth.privacy.nearest import Points, nearest

CLOSEST = 0.01  # of a patient's patches: where few were copied, the mean over all would hide them


def set_scores(candidates: Points, synthetic: Points) -> NDArray[np.float32]:
    """Minus the distance of each candidate patch to the nearest of the set: (n,)."""
    scores: NDArray[np.float32] = -nearest(candidates, synthetic)[0][:, 0]
    return scores


def inference_scores(candidates: Points, label: LabelPatches, synthetic: Points, synthetic_label: LabelPatches) -> NDArray[np.float64]:
    """DSC (n,) of each candidate's label and that of the nearest synthetic image; NaN where the candidate has no vessel.

    Some of it works for everybody, since vessels look alike; only the difference between members and others is a leak of the set.
    """
    guess = synthetic_label[nearest(candidates, synthetic)[1][:, 0]].reshape(len(label), -1).astype(bool)
    truth = label.reshape(len(label), -1).astype(bool)
    both = (guess & truth).sum(axis=1)
    sizes = guess.sum(axis=1) + truth.sum(axis=1)
    return np.where(truth.any(axis=1), 2.0 * both / np.maximum(sizes, 1), np.nan)
