"""The one intensity rule, by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from angiosynth.data.bids import find_patients
from angiosynth.data.intensity import load_scan, stretch_patch
from angiosynth.errors import InputError
from angiosynth.settings import IntensitySettings
from tests.factories import affine_of, make_arrays, make_cohort, write_nifti

SHAPE = (40, 44, 6)


def test_percentiles_of_the_brain_become_the_range(tmp_path: Path) -> None:
    # Brain: values 0..100 once each, so percentile p is p. Outside: 1000, which must not count.
    scan = np.full((101, 2, 1), 1000, np.int16)
    scan[:, 0, 0] = np.arange(101)
    brain = np.zeros(scan.shape, np.uint8)
    brain[:, 0] = 1
    write_nifti(tmp_path / "sub-1/anat/sub-1_angio.nii.gz", scan)
    write_nifti(tmp_path / "sub-1/anat/sub-1_desc-brain_mask.nii.gz", brain)
    (patient,) = find_patients(tmp_path)
    image = load_scan(patient, IntensitySettings(low=10, high=90)).image
    assert image.dtype == np.float32
    np.testing.assert_allclose(image[[0, 10, 30, 50, 90, 100], 0, 0], [-1, -1, -0.5, 0, 1, 1], atol=1e-6)
    assert (image[:, 1] == -1).all()
    whole = load_scan(patient, IntensitySettings(rule="patch", low=10, high=90)).image
    np.testing.assert_allclose(whole[[0, 25, 50, 100], 0, 0], [-1, -0.5, 0, 1], atol=1e-6)


def test_no_contrast_inside_the_brain_is_refused(tmp_path: Path) -> None:
    scan = np.zeros((20, 20, 2), np.int16)
    scan[0, 0, 0] = 5
    write_nifti(tmp_path / "sub-1/anat/sub-1_angio.nii.gz", scan)
    with pytest.raises(InputError, match="no contrast inside the brain"):
        load_scan(find_patients(tmp_path)[0], IntensitySettings(low=1, high=99))


def test_a_patch_of_one_value_is_dark() -> None:
    assert (stretch_patch(np.full((4, 4), 0.3, np.float32)) == -1).all()
    stretched = stretch_patch(np.array([[0.0, 0.5], [0.25, 0.1]], np.float32))
    np.testing.assert_allclose(stretched, np.array([[-1, 1], [0, -0.6]]), atol=1e-6)


def test_grids_that_disagree_are_refused(tmp_path: Path) -> None:
    cohort = make_cohort(tmp_path, 2, SHAPE)
    label = cohort / "sub-02/anat/sub-02_desc-vessel_mask.nii.gz"
    write_nifti(label, make_arrays(SHAPE, 1)[2], affine_of(origin=(-10.0, 5.0, 4.0)))
    with pytest.raises(InputError, match="affine is not the scan's"):
        load_scan(find_patients(cohort)[1], IntensitySettings())
