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
from angiosynth.privacy.nearest import Neighbours, Points, nearest

CLOSEST = 0.01  # of a patient's patches: where few were copied, the mean over all would hide them


def set_scores(candidates: Points, synthetic: Points) -> NDArray[np.float32]:
    """Minus the distance of each candidate patch to the nearest of the set: (n,)."""
    scores: NDArray[np.float32] = -nearest(candidates, synthetic)[0][:, 0]
    return scores


def scores_with_copies(candidates: Points, synthetic: Points, neighbours: Neighbours, copies: Points) -> NDArray[np.float32]:
    """`set_scores` of the set whose last patches gave way to as many copies, (n,).

    Args:
        candidates: (n, coordinates).
        synthetic: the set, (m, coordinates).
        neighbours: of the candidates in the set. Only whose neighbour gave way looks for another.
        copies: at most m.
    """
    kept = synthetic[: len(synthetic) - len(copies)]
    distance, gone = neighbours.distance.copy(), neighbours.row >= len(kept)
    if gone.any():
        distance[gone] = Neighbours.among(candidates[gone], kept).distance if len(kept) else np.inf
    return np.maximum(-distance, set_scores(candidates, copies))


def inference_scores(candidates: Points, label: LabelPatches, synthetic: Points, synthetic_label: LabelPatches) -> NDArray[np.float64]:
    """DSC (n,) of each candidate's label and that of the nearest synthetic image; NaN where the candidate has no vessel.

    Some of it works for everybody, since vessels look alike; only the difference between members and others is a leak of the set.
    """
    return guess_scores(label, synthetic_label[nearest(candidates, synthetic)[1][:, 0]])


def guess_scores(label: LabelPatches, guess: LabelPatches) -> NDArray[np.float64]:
    """DSC (n,) of labels and guesses (n, x, y); NaN where the label has no vessel."""
    truth, guessed = (one.reshape(len(label), -1).astype(bool) for one in (label, guess))
    sizes = guessed.sum(axis=1) + truth.sum(axis=1)
    return np.where(truth.any(axis=1), 2.0 * (guessed & truth).sum(axis=1) / np.maximum(sizes, 1), np.nan)
