"""Attacks that need only the synthetic set.

Membership: the full black-box attack of GAN-Leaks (ACM CCS 2020, section 4.2). A generator that memorises training patches draws patches
close to them, so members lie closer to the set than non-members. The score is the negative distance to the nearest synthetic patch.

Inference: an attacker who holds a person's image guesses the label to be that of the nearest synthetic image (after Anonymeter, PETS
2023, section 4.3). The score is the DSC of the guess.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from angiosynth.arrays import LabelPatches, chunks
from angiosynth.privacy.nearest import Indices, Neighbours, Points, nearest

CLOSEST = 0.01  # fraction of a patient's patches: the mean over all patches would hide a few copied ones


def set_scores(candidates: Points, synthetic: Points) -> NDArray[np.float32]:
    """Return scores (n,): the negative distance of each candidate patch to the nearest synthetic one."""
    scores: NDArray[np.float32] = -nearest(candidates, synthetic)[0][:, 0]
    return scores


def scores_with_copies(candidates: Points, synthetic: Points, neighbours: Neighbours, copies: Points) -> NDArray[np.float32]:
    """Return `set_scores` (n,) for the set with its last patches replaced by copies.

    Args:
        candidates: (n, coordinates).
        synthetic: (m, coordinates) the set.
        neighbours: nearest neighbours of the candidates in the set; only candidates whose neighbour is replaced are searched again.
        copies: (k, coordinates), k at most m.
    """
    remaining = synthetic[: len(synthetic) - len(copies)]
    distance, is_replaced = neighbours.distance.copy(), neighbours.row >= len(remaining)
    if is_replaced.any():
        distance[is_replaced] = Neighbours.among(candidates[is_replaced], remaining).distance if len(remaining) else np.inf
    return np.maximum(-distance, set_scores(candidates, copies))


def inference_scores(candidates: Points, label: LabelPatches, synthetic: Points, synthetic_label: LabelPatches) -> NDArray[np.float64]:
    """Return the DSC (n,) of each candidate's label and the label of the nearest synthetic image; NaN if the candidate has no vessel.

    Vessels of different people are similar, so non-members have a positive score too; only the excess of members is a leak.
    """
    return guess_scores(label, synthetic_label, nearest(candidates, synthetic)[1][:, 0])


def guess_scores(label: LabelPatches, synthetic_label: LabelPatches, row: Indices) -> NDArray[np.float64]:
    """Return the DSC (n,) of labels (n, x, y) and guesses, the synthetic labels at row (n,); NaN where the label has no vessel."""
    scores = (_guess_scores(of_label, synthetic_label[of_row]) for of_label, of_row in zip(chunks(label), chunks(row), strict=True))
    return np.concatenate([np.zeros(0), *scores])


def _guess_scores(label: LabelPatches, guess: LabelPatches) -> NDArray[np.float64]:
    truth, guessed = (masks.reshape(len(label), -1).astype(bool) for masks in (label, guess))
    sizes = guessed.sum(axis=1) + truth.sum(axis=1)
    return np.where(truth.any(axis=1), 2.0 * (guessed & truth).sum(axis=1) / np.maximum(sizes, 1), np.nan)
