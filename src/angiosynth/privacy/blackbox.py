"""Whoever holds the synthetic set alone: the full black-box attack of GAN-Leaks (Chen et al., CCS 2020, section 4.2), and what the
set lets him infer about a person of whom he holds the image (after Giomi et al., PETS 2023, section 4.3).

A patch that was trained on lies nearer to the set than one that was not, if the GAN repeats what it saw.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from angiosynth.arrays import LabelPatches
from angiosynth.privacy.nearest import Points, nearest

CLOSEST = 0.01  # of a patient's patches: where few were copied, these tell


def set_scores(candidates: Points, synthetic: Points) -> NDArray[np.float32]:
    """Minus the distance of each candidate patch to the nearest of the set: (n,)."""
    scores: NDArray[np.float32] = -nearest(candidates, synthetic)[0][:, 0]
    return scores


def inference_scores(candidates: Points, label: LabelPatches, synthetic: Points, synthetic_label: LabelPatches) -> NDArray[np.float64]:
    """How well the label of the nearest synthetic image tells a candidate's own: its DSC (n,); NaN where the candidate has no vessel.

    Some of it works for everybody, since vessels look alike; the difference between members and others is what the set gives away.
    """
    guess = synthetic_label[nearest(candidates, synthetic)[1][:, 0]].reshape(len(label), -1).astype(bool)
    truth = label.reshape(len(label), -1).astype(bool)
    both = (guess & truth).sum(axis=1)
    sizes = guess.sum(axis=1) + truth.sum(axis=1)
    return np.where(truth.any(axis=1), 2.0 * both / np.maximum(sizes, 1), np.nan)
