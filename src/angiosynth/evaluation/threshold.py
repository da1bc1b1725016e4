"""Baseline for the U-nets: the global intensity threshold with the highest DSC on training patients."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from angiosynth.arrays import Mask, from_levels, to_levels
from angiosynth.data.intensity import Scan

LEVELS = 256


def best_threshold(scans: Iterable[Scan]) -> float:
    """Return the threshold in [-1, 1] on normalised intensity with the highest mean DSC over labelled scans; brighter voxels are vessel.

    The DSC of every grey level is computed exactly: cumulative histograms of vessel and brain voxels give the true positives and all
    positives for each threshold.
    """
    dsc = np.zeros(LEVELS)
    for scan in scans:
        levels = to_levels(scan.image)
        vessel = np.bincount(levels[scan.truth], minlength=LEVELS)
        brain = np.bincount(levels[scan.brain], minlength=LEVELS)
        hits, positives = (np.cumsum(counts[::-1])[::-1] for counts in (vessel, brain))  # voxels at each level or above
        dsc += 2.0 * hits / np.maximum(positives + vessel.sum(), 1)
    level = int(np.argmax(dsc))
    # Half a level lower, so that on the continuous scale exactly this level and those above exceed the threshold.
    return float(from_levels(np.array(level, np.uint8))) - 1.0 / (LEVELS - 1)


def above(scan: Scan, threshold: float) -> Mask:
    """Return the mask (x, y, z) of the brain voxels brighter than the threshold."""
    mask: Mask = (scan.image > threshold) & scan.brain
    return mask
