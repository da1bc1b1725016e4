"""Checking patients: one injected fault at a time, then several at once; every message names the file."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from angiosynth.data.bids import find_patients
from angiosynth.data.checks import check_patients
from angiosynth.data.cohort import build_cohort
from angiosynth.data.intensity import load_scan
from angiosynth.errors import InputError
from angiosynth.settings import CohortSettings, IntensitySettings, SiteSettings, SplitSettings
from tests.factories import affine_of, make_arrays, make_cohort, nib, write_nifti

SHAPE = (40, 44, 6)
SCAN = "sub-02/anat/sub-02_angio.nii.gz"
BRAIN = "sub-02/anat/sub-02_desc-brain_mask.nii.gz"
LABEL = "sub-02/anat/sub-02_desc-vessel_mask.nii.gz"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_cohort(tmp_path_factory.mktemp("sound"), 3, SHAPE)


@pytest.fixture
def cohort(sound: Path, tmp_path: Path) -> Path:
    shutil.copytree(sound, tmp_path / "lab")
    return tmp_path / "lab"


def _plan(train: int | tuple[str, ...], validation: int | tuple[str, ...], test: int | tuple[str, ...]) -> SplitSettings:
    return SplitSettings(train=train, validation=validation, test=test)


def _settings(*sites: Path, plan: SplitSettings | None = None) -> CohortSettings:
    """site-a, of which three patients are wanted where nothing else is said, then site-b and so on, of which nobody is."""
    plans = [plan or _plan(1, 1, 1), *[_plan(0, 0, 0)] * 2]
    named = {f"site-{'abc'[n]}": SiteSettings(path=str(site), split=plans[n]) for n, site in enumerate(sites)}
    return CohortSettings(source="site-a", sites=named)


def test_facts_of_sound_patients(tmp_path: Path) -> None:
    folder = make_cohort(tmp_path, 2, SHAPE, orientation="PIL")
    facts, faults = check_patients(find_patients(folder))
    assert faults == []
    _, brain, label = make_arrays(SHAPE, 1)
    second = facts[1]
    assert (second.id, second.shape, second.orientation) == ("sub-02", SHAPE, "PIL")
    assert second.spacing_mm == pytest.approx((0.8, 0.9, 1.1))
    assert (second.brain_voxels, second.vessel_voxels) == (brain.sum(), label.sum())
    assert second.labelled
    assert second.masked
    assert facts[0].sha256 != second.sha256


def _no_scan(root: Path) -> None:
    (root / SCAN).unlink()


def _cut(root: Path) -> None:
    raw = (root / SCAN).read_bytes()
    (root / SCAN).write_bytes(raw[: len(raw) // 2])


def _dangling(root: Path) -> None:
    (root / BRAIN).unlink()
    (root / BRAIN).symlink_to(root / "gone.nii.gz")


def _other_shape(root: Path) -> None:
    write_nifti(root / BRAIN, np.ones((40, 44, 7), np.uint8))


def _other_affine(root: Path) -> None:
    write_nifti(root / LABEL, make_arrays(SHAPE, 1)[2], affine_of(origin=(-10.0, 5.0, 4.0)))


def _flipped(root: Path) -> None:
    write_nifti(root / LABEL, make_arrays(SHAPE, 1)[2], affine_of() * np.array([-1, 1, 1, 1.0]))


def _four_axes(root: Path) -> None:
    nib.save(nib.Nifti1Image(np.ones((*SHAPE, 2), np.int16), affine_of()), root / SCAN)


def _not_numbers(root: Path) -> None:
    scan = make_arrays(SHAPE, 1)[0].astype(np.float32)
    scan[3, 3, 3] = np.nan
    write_nifti(root / SCAN, scan)


def _empty_mask(root: Path) -> None:
    write_nifti(root / BRAIN, np.zeros(SHAPE, np.uint8))


def _empty_label(root: Path) -> None:
    write_nifti(root / LABEL, np.zeros(SHAPE, np.uint8))


def _classes(root: Path) -> None:
    write_nifti(root / LABEL, make_arrays(SHAPE, 1)[2] + make_arrays(SHAPE, 2)[2])


def _outside(root: Path) -> None:
    _, brain, label = make_arrays(SHAPE, 1)
    extra = np.zeros(SHAPE, bool)
    extra.flat[np.flatnonzero(brain == 0)[: int(0.02 * label.sum()) + 1]] = True
    write_nifti(root / LABEL, (label.astype(bool) | extra).astype(np.uint8))


def _flat(root: Path) -> None:
    write_nifti(root / SCAN, np.full(SHAPE, 7, np.int16))


def _twin(root: Path) -> None:
    shutil.copy(root / "sub-01/anat/sub-01_angio.nii.gz", root / SCAN)


def _not_nifti(root: Path) -> None:
    (root / LABEL).write_bytes(b"no image" * 100)


FAULTS: list[tuple[Callable[[Path], None], str, str]] = [
    (_no_scan, "sub-02", "has no scan"),
    (_cut, SCAN, "cut short"),
    (_dangling, BRAIN, "cannot be read"),
    (_other_shape, BRAIN, "shape (40, 44, 7) is not the scan's (40, 44, 6)"),
    (_other_affine, LABEL, "affine is not the scan's"),
    (_flipped, LABEL, "affine is not the scan's"),
    (_four_axes, SCAN, "4 axes"),
    (_not_numbers, SCAN, "NaN"),
    (_empty_mask, BRAIN, "is empty"),
    (_empty_label, LABEL, "is empty"),
    (_classes, LABEL, "holds 0-2 instead of only 0 and 1"),
    (_outside, LABEL, "outside the brain mask"),
    (_flat, SCAN, "same value"),
    (_twin, SCAN, "sub-01_angio.nii.gz, so one person could be in two splits"),
    (_not_nifti, LABEL, "not a NIfTI file"),
]


@pytest.mark.parametrize(("inject", "file", "message"), FAULTS, ids=[inject.__name__ for inject, _, _ in FAULTS])
def test_every_fault_is_found_and_its_file_named(cohort: Path, inject: Callable[[Path], None], file: str, message: str) -> None:
    inject(cohort)
    with pytest.raises(InputError) as caught:
        build_cohort(_settings(cohort), cohort / "splits", cohort / "out")
    summary, *faults = str(caught.value).splitlines()
    assert summary.startswith("cohort: 1 fault found")
    assert len(faults) == 1
    assert str(cohort / file) in faults[0]
    assert message in faults[0]
    assert not (cohort / "splits").exists()


def test_all_faults_of_all_sites_come_at_once(cohort: Path, tmp_path: Path) -> None:
    other = make_cohort(tmp_path / "other", 2, SHAPE, seed=5)
    _empty_mask(cohort)
    _classes(cohort)
    (cohort / "sub-03/anat/sub-03_angio.nii.gz").write_bytes(b"")
    _cut(other)
    with pytest.raises(InputError) as caught:
        build_cohort(_settings(cohort, other), tmp_path / "splits", tmp_path / "out")
    summary, *faults = str(caught.value).splitlines()
    assert "4 faults" in summary
    assert [part in line for part, line in zip((BRAIN, LABEL, "sub-03_angio", SCAN), faults, strict=True)] == [True] * 4


def test_a_few_label_voxels_outside_the_brain_are_masked_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    brain = np.zeros((20, 20, 4), np.uint8)
    brain[2:18, 2:18] = 1
    label = np.zeros_like(brain)
    label[4:14, 4:14, :2] = 1  # 200 voxels
    label[0, 0, 0] = label[0, 0, 1] = 1  # 2 of 202 outside
    stem = tmp_path / "sub-1" / "anat" / "sub-1"
    scan = np.random.default_rng(0).integers(0, 99, brain.shape).astype(np.int16)
    write_nifti(Path(f"{stem}_angio.nii.gz"), scan)
    write_nifti(Path(f"{stem}_desc-brain_mask.nii.gz"), brain)
    write_nifti(Path(f"{stem}_desc-vessel_mask.nii.gz"), label)
    patients = find_patients(tmp_path)
    facts, faults = check_patients(patients)
    assert faults == []
    assert facts[0].vessel_voxels == 200
    assert "2 of 202 voxels lie outside" in capsys.readouterr().err
    loaded = load_scan(patients[0], IntensitySettings())
    assert loaded.label is not None
    assert loaded.label.sum() == 200


def test_digest_follows_every_file(cohort: Path) -> None:
    before, _ = check_patients(find_patients(cohort))
    label = make_arrays(SHAPE, 1)[2]
    label[tuple(np.argwhere(label)[0])] = 0
    write_nifti(cohort / LABEL, label)
    after, _ = check_patients(find_patients(cohort))
    assert [a.sha256 == b.sha256 for a, b in zip(before, after, strict=True)] == [True, False, True]


def test_real_dataset_has_no_fault(realdata: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if not (realdata / "icbm-tof").is_dir():
        pytest.skip("icbm-tof is not among the real volumes in ANGIOSYNTH_REALDATA")
    facts, faults = check_patients(find_patients(realdata / "icbm-tof")[:1])
    assert faults == []
    assert all(fact.labelled and fact.masked and fact.orientation == "RAS" for fact in facts)
    assert "outside the brain" not in capsys.readouterr().err
