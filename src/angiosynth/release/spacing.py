"""Voxel size of the training scans, which packages state because patches have no scale without it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from angiosynth.errors import InputError
from angiosynth.reading import read_json

DIGITS = 3  # significant; further digits of a header could identify a scan
ALIKE = 0.01  # relative; scans of one protocol differ only by rounding


def training_spacing(cohort: Path, patients: Sequence[str]) -> dict[str, Any]:
    """Median voxel size of the scans of some patients, for a card.

    Args:
        cohort: data/cohort/<site>.json of stage cohort.
        patients: names of the training patients.

    Returns:
        `spacing_mm`: x, y, z in canonical order, three significant digits; `spacing_varies`: whether a scan differs by more than 1%.

    Raises:
        InputError: the file is missing or damaged, or a patient is not in it.
    """
    try:
        known = {str(patient["id"]): patient["spacing_mm"] for patient in read_json(cohort)["patients"]}
        spacings = np.array([known[name] for name in patients], np.float64).reshape(-1, 3)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{cohort}: has no voxel size of every training patient; run `dvc repro cohort` to make it anew") from error
    if not len(spacings) or not (np.isfinite(spacings).all() and (spacings > 0).all()):
        raise InputError(f"{cohort}: has no voxel size of the training patients; run `dvc repro cohort` to make it anew")
    median = np.median(spacings, axis=0)
    varies = bool((np.abs(spacings - median) > ALIKE * median).any())
    return {"spacing_mm": [float(f"{length:.{DIGITS}g}") for length in median], "spacing_varies": varies}
