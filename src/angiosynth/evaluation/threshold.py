"""The baseline for every U-net: the one global threshold with the highest DSC on training patients."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from angiosynth.arrays import Mask, from_levels, to_levels
from angiosynth.data.intensity import Scan

LEVELS = 256


def best_threshold(scans: Iterable[Scan]) -> float:
    """The threshold on normalised intensity, in [-1, 1], with the highest mean DSC over labelled scans.

    Every grey level is tried, exactly, from the histograms of vessel and brain. Voxels above it are vessel.
    """
    dsc = np.zeros(LEVELS)
    for scan in scans:
        levels = to_levels(scan.image)
        vessel = np.bincount(levels[scan.truth], minlength=LEVELS)
        brain = np.bincount(levels[scan.brain], minlength=LEVELS)
        hits, positives = (np.cumsum(counts[::-1])[::-1] for counts in (vessel, brain))  # at a level and above
        dsc += 2.0 * hits / np.maximum(positives + vessel.sum(), 1)
    level = int(np.argmax(dsc))
    # Half a level below, so that on the continuous scale exactly the levels from this one on lie above.
    return float(from_levels(np.array(level, np.uint8))) - 1.0 / (LEVELS - 1)


def above(scan: Scan, threshold: float) -> Mask:
    """The brain's voxels that are brighter than the threshold."""
    mask: Mask = (scan.image > threshold) & scan.brain
    return mask
