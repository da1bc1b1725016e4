"""A set of patches joined with another one, such as a synthetic set with the real patches of a few patients."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from angiosynth.data.patches import PatchSet
from angiosynth.errors import InputError
from angiosynth.runtime.mapped import stored

PIECE = 4096  # pairs that are copied at once


def joined(first: PatchSet, second: PatchSet, folder: Path) -> PatchSet:
    """Join two sets so that half of the rows, and in the mean half of each batch, come from either, however many pairs they hold.

    The rows of the smaller set are repeated in turn until they are as many as those of the larger one.

    Args:
        first, second: sets of one size and one intensity rule, neither of them empty.
        folder: for a nameless file with the pairs, if they are many.

    Returns:
        The joined set, with the description and the folder of `second`.

    Raises:
        InputError: a set is empty, or the sets differ in the side of a patch or in the intensity rule.
        OSError: the disk is full.
    """
    for patches in (first, second):
        if not len(patches):
            raise InputError(f"{patches.folder}: holds no patches to join with others")
    for name, one, other in (
        ("patches of size", first.size, second.size),
        ("the intensity rule", first.meta.get("intensity"), second.meta.get("intensity")),
    ):
        if one != other:
            raise InputError(f"{first.folder}: has {name} {one}, {second.folder} {other}; run `dvc repro` to make both anew")
    counts = (len(first), len(second))
    shape = (sum(counts), first.size, first.size)
    image, label = (
        stored((getattr(patches, name)[rows] for patches in (first, second) for rows in _pieces(patches)), shape, folder)
        for name in ("image", "label")
    )
    places = (np.arange(counts[0]), np.arange(counts[0], sum(counts)))
    rows = np.concatenate([np.resize(each, max(counts)) for each in places])
    patient = np.concatenate([patches.patient[patches.rows] for patches in (first, second)])
    return PatchSet(image, label, patient, rows, second.meta, second.folder)


def _pieces(patches: PatchSet) -> list[np.ndarray]:
    """Split the rows of a set into pieces."""
    return np.array_split(patches.rows, -(-len(patches) // PIECE))
