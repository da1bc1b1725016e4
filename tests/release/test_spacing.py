"""The voxel size that a package keeps: the training scans', rounded."""

from __future__ import annotations

from pathlib import Path

import pytest

from angiosynth.errors import InputError
from angiosynth.release.spacing import training_spacing
from angiosynth.runtime.output import write_json


def cohort(folder: Path, **spacings: object) -> Path:
    write_json(folder / "site-a.json", {"patients": [{"id": name, "spacing_mm": spacing} for name, spacing in spacings.items()]})
    return folder / "site-a.json"


def test_the_median_of_the_named_patients_to_three_digits(tmp_path: Path) -> None:
    path = cohort(tmp_path, a=[0.312601, 0.312599, 0.6], b=[0.3126, 0.3126, 0.600001], c=[0.3127, 0.3125, 0.6], d=[1.0, 1.0, 5.0])
    assert training_spacing(path, ["a", "b", "c"]) == {"spacing_mm": [0.313, 0.313, 0.6], "spacing_varies": False}


def test_scans_of_several_protocols_are_reported(tmp_path: Path) -> None:
    path = cohort(tmp_path, a=[0.5, 0.5, 0.8], b=[0.5, 0.5, 0.8], c=[0.5, 0.5, 0.6])
    assert training_spacing(path, ["a", "b", "c"]) == {"spacing_mm": [0.5, 0.5, 0.8], "spacing_varies": True}


@pytest.mark.parametrize("spacing", [[0.5, 0.5], [0.5, 0.5, 0.0], [0.5, 0.5, -1.0], "abc", None, [None, 1.0, 1.0]], ids=str)
def test_a_damaged_cohort_is_refused(spacing: object, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="run `dvc repro cohort`"):
        training_spacing(cohort(tmp_path, a=spacing), ["a"])


@pytest.mark.parametrize("patients", [[], ["b"]], ids=["none", "unknown"])
def test_patients_that_are_not_there_are_refused(patients: list[str], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="run `dvc repro cohort`"):
        training_spacing(cohort(tmp_path, a=[0.5, 0.5, 0.5]), patients)
