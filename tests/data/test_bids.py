"""Finding patients by the names of files."""

from __future__ import annotations

from pathlib import Path

import pytest

from angiosynth.data.bids import Patient, Survey, find_patients, survey
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


SCAN, BRAIN, LABEL = (f"sub-a/anat/sub-a{role}" for role in ("_angio.nii.gz", "_desc-brain_mask.nii.gz", "_desc-vessel_mask.nii.gz"))


def _surveyed(root: Path, *names: str) -> Survey:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return survey(root)


@pytest.mark.parametrize("ending", [".NII.GZ", ".Nii", ".nii.GZ", ".NII"])
def test_capital_letters_of_an_ending_do_not_count(tmp_path: Path, ending: str) -> None:
    names = [name.replace(".nii.gz", ending) for name in (SCAN, BRAIN, LABEL)]
    found = _surveyed(tmp_path, *names)
    assert found == Survey((Patient("sub-a", *(tmp_path / name for name in names)),), [], [])


KINDS = {".hdr": "Analyze", ".mha": "Meta", ".nrrd": "NRRD", ".mgz": "Free", ".nii.xz": "NIfTI packed"}


@pytest.mark.parametrize("role", ["_angio", "_desc-brain_mask", "_desc-vessel_mask"])
@pytest.mark.parametrize(("ending", "kind"), KINDS.items())
@pytest.mark.parametrize("place", ["sub-a/anat", "derivatives/manual/sub-a/anat"])
def test_a_file_of_another_format_is_a_fault(tmp_path: Path, role: str, ending: str, kind: str, place: str) -> None:
    if role == "_angio" and place != "sub-a/anat":
        pytest.skip("scans lie in patients' folders alone")
    there = [name for name in (SCAN, BRAIN, LABEL) if f"{role}." not in name]
    (fault,) = _surveyed(tmp_path, *there, f"{place}/sub-a{role}{ending}").faults
    assert fault.startswith(f"{tmp_path / place}/sub-a{role}{ending}: is {kind}")
    assert "convert it" in fault


def test_beside_nifti_it_is_listed(tmp_path: Path) -> None:
    found = _surveyed(tmp_path, SCAN, BRAIN, LABEL, LABEL.replace(".nii.gz", ".mha"))
    assert found.faults == []
    assert found.notes == [f"{tmp_path}: not taken: sub-a/anat/sub-a_desc-vessel_mask.mha"]


def test_what_lies_there_and_is_not_taken_is_listed(tmp_path: Path) -> None:
    stray = ["sub-a/anat/sub-a_T1w.nii.gz", "sub-a/anat/sub-a_label.nii.gz", "sub-a/notes.txt", "sub-b.zip", "extra/sub-a_angio.nii"]
    apart = ["sub-a/anat/sub-a_angio.json", "participants.tsv", "README", "sourcedata/sub-a/x.nii", "code/x.nii", ".git/x.nii"]
    found = _surveyed(tmp_path, SCAN, BRAIN, LABEL, *stray, *apart, "sub-c/anat/sub-c_T1w.nii.gz")
    assert found.faults == []
    left, listed = found.notes
    assert left == f"{tmp_path / 'sub-c'}: no *_angio.nii.gz, left out"
    assert sorted(listed.removeprefix(f"{tmp_path}: not taken: ").split(", ")) == sorted([*stray, "sub-c/anat/sub-c_T1w.nii.gz"])


@pytest.mark.parametrize(
    "label",
    [
        "sub-a/ses-1/anat/sub-a_ses-1_desc-vessel_mask.nii.gz",  # of a session that the scan is not in
        "sub-a/sub-a_desc-vessel_mask.nii.gz",
        "derivatives/manual/sub-a/sub-a_desc-vessel_mask.nii.gz",
        "derivatives/manual/sub-z/anat/sub-z_desc-vessel_mask.nii.gz",
        "labels/sub-a_desc-vessel_mask.nii.gz",
    ],
)
def test_a_vessel_label_that_no_scan_takes_is_a_fault(tmp_path: Path, label: str) -> None:
    (fault,) = _surveyed(tmp_path, SCAN, BRAIN, label).faults
    assert fault.startswith(f"{tmp_path / label}: is a vessel label that no scan takes")


def test_links_to_files_and_folders_are_followed(tmp_path: Path) -> None:
    store, root = tmp_path / "store", tmp_path / "site"
    _surveyed(store, SCAN, BRAIN, LABEL)
    root.mkdir()
    (root / "sub-a").symlink_to(store / "sub-a")
    (root / "sub-b/anat").mkdir(parents=True)
    (root / "sub-b/anat/sub-b_angio.nii.gz").symlink_to(store / SCAN)
    assert [patient.id for patient in find_patients(root)] == ["sub-a", "sub-b"]
    assert find_patients(root)[0].label == root / LABEL


def test_links_that_lead_nowhere_are_faults(tmp_path: Path) -> None:
    _surveyed(tmp_path, SCAN, BRAIN)
    (tmp_path / "sub-b").symlink_to(tmp_path / "gone")
    assert survey(tmp_path).faults == [f"{tmp_path / 'sub-b'}: is a link that leads nowhere; bring the patient's folder or remove the link"]
    (tmp_path / "sub-b").unlink()
    (tmp_path / LABEL).symlink_to(".git/annex/objects/x.nii.gz")
    assert survey(tmp_path).patients[0].label == tmp_path / LABEL  # told by whoever reads it


def test_a_circle_of_links_ends(tmp_path: Path) -> None:
    found = _surveyed(tmp_path, SCAN, BRAIN, LABEL)
    (tmp_path / "sub-a/anat/up").symlink_to(tmp_path)
    assert survey(tmp_path) == found
