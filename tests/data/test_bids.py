"""Finding patients by the names of files."""

from __future__ import annotations

from pathlib import Path

import pytest

from angiosynth.data.cohort import (
    Patient,
    find_patients,
)
from angiosynth.errors import InputError


def test_finds_masks_beside_the_scan_in_sessions_and_in_derivatives(tmp_path: Path) -> None:
    names = [
        "sub-a/anat/sub-a_acq-tof_angio.nii",
        "sub-a/anat/sub-a_acq-tof_desc-brain_mask.nii",
        "sub-a/anat/sub-a_desc-manual_mask.nii.gz",
        "sub-a/anat/._sub-a_angio.nii.gz",
        "sub-b/ses-1/anat/sub-b_ses-1_angio.nii.gz",
        "derivatives/pipeline/sub-b/ses-1/anat/sub-b_ses-1_space-orig_desc-vessel_mask.nii.gz",
        "derivatives/pipeline/sub-b/ses-1/anat/sub-b_ses-1_desc-brain_mask.nii.gz",
        "derivatives/other/sub-b/ses-1/anat/sub-b_ses-1_space-T1w_desc-brain_mask.nii.gz",
        "sub-c/anat/sub-c_T1w.nii.gz",
    ]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert find_patients(tmp_path) == (
        Patient("sub-a", tmp_path / names[0], tmp_path / names[1], None),
        Patient("sub-b", tmp_path / names[4], tmp_path / names[6], tmp_path / names[5]),
    )


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["readme.txt"], "no scan found"),
        (["sub-a/anat/sub-a_angio.nii", "sub-a/anat/sub-a_angio.nii.gz"], "several scans of one person"),
        (["sub-a/ses-1/anat/sub-a_ses-1_angio.nii", "sub-a/ses-2/anat/sub-a_ses-2_angio.nii"], "several scans of one person"),
        (["sub-a_old/anat/sub-a_angio.nii"], "not a patient's name"),
        (["sub-a/anat/sub-a_desc-vessel_mask.nii"], "has no scan"),
        (["sub-a/anat/sub-a_angio.nii", *(f"derivatives/{p}/sub-a/anat/sub-a_desc-brain_mask.nii" for p in "pq")], "several files"),
    ],
)
def test_folders_that_cannot_be_understood_are_refused(tmp_path: Path, names: list[str], message: str) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(InputError, match=message):
        find_patients(tmp_path)


def test_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        find_patients(tmp_path / "none")
