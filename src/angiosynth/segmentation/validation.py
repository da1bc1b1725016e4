"""Scores on whole volumes of validation patients, which select weights, generators and settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from angiosynth.arrays import Mask
from angiosynth.data.intensity import Scan
from angiosynth.metrics.segmentation import dsc, hd95_mm
from angiosynth.segmentation.prediction import Segmenter
from angiosynth.segmentation.training import Validate


def validator(scans: Sequence[Scan]) -> Validate | None:
    """Return a function that scores a segmenter by mean DSC and 95HD over labelled scans, or None without scans."""
    if not scans:
        return None

    def validate(segmenter: Segmenter) -> dict[str, float]:
        return validation_scores(scans, lambda scan: segmenter.segment(scan.image, scan.brain))

    return validate


def validation_scores(scans: Sequence[Scan], segment: Callable[[Scan], Mask]) -> dict[str, float]:
    """Means "val_dsc" and "val_hd95_mm" over at least one labelled scan."""
    scores = []
    for scan in scans:  # one mask at a time in memory
        mask = segment(scan)
        scores.append((dsc(scan.truth, mask), hd95_mm(scan.truth, mask, scan.spacing_mm)))
    return dict(zip(("val_dsc", "val_hd95_mm"), (float(value) for value in np.mean(scores, axis=0)), strict=True))
