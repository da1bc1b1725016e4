"""Find patients in a BIDS folder: scans, brain masks and vessel labels, by file names.

A patient is one person, `sub-<letters and digits>`, with exactly one TOF-MRA scan. A person with several scans (sessions, runs) is refused:
the lab must decide which scan to use, and treating each session as a separate patient could put one person into two subsets of the split.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from angiosynth.data.folders import NIFTI, files_below, some_of
from angiosynth.data.formats import CONVERT, foreign_format, without_ending
from angiosynth.errors import InputError

PATIENT_NAME = re.compile(r"sub-[A-Za-z0-9]+")
SUFFIXES = (".nii", ".nii.gz")
SCAN, BRAIN, LABEL = "_angio", "_desc-brain_mask", "_desc-vessel_mask"
SIDECARS = (".json", ".tsv", ".bval", ".bvec")  # text files that other programs store next to an image
# Folders of a BIDS dataset that contain no images of patients in BIDS form.
APART = ("sourcedata", "code", "phenotype", "stimuli")


@dataclass(frozen=True)
class Patient:
    """Files of one person. `id` is the name of the folder, such as "sub-01"."""

    id: str
    image: Path
    brain: Path | None
    label: Path | None


@dataclass(frozen=True)
class Survey:
    """Content of a BIDS folder: patients without faults, and one line for each fault and for each note on unused files."""

    patients: tuple[Patient, ...]
    faults: list[str]
    notes: list[str]


def find_patients(root: Path) -> tuple[Patient, ...]:
    """Find all patients under `root`, sorted by name.

    Scans are root/sub-*/[ses-*/]anat/*_angio.nii[.gz]. Masks (*_desc-brain_mask) and labels (*_desc-vessel_mask) lie next to them or at the
    same relative path under root/derivatives/<any>/. Among several masks the one named like the scan is used. Names are compared ignoring
    case. Links to files and folders are followed.

    Raises:
        InputError: the folder is missing or has no scan, or the assignment of files is ambiguous; one line for each fault.
    """
    content = survey(root)
    if content.faults:
        raise InputError(*content.faults)
    return content.patients


def survey(root: Path) -> Survey:
    """As `find_patients`, but return faults and notes instead of raising an error for the first ones."""
    if not root.is_dir():
        return Survey((), [f"{root}: no such folder; name a BIDS folder with sub-*/anat/*_angio.nii.gz"], [])
    patients: list[Patient] = []
    faults: list[str] = []
    notes: list[str] = []
    faulty: set[str] = set()
    # Read each patient's folder; faults are collected, so that one run reports all of them.
    for folder in sorted(root.glob("sub-*")):
        if not folder.is_dir():
            if folder.is_symlink() and not folder.exists():
                faults.append(f"{folder}: is a link that leads nowhere; bring the patient's folder or remove the link")
            continue
        try:
            patient = _patient(root, folder)
        except InputError as error:
            faults.append(str(error))
            faulty.add(folder.name)
            continue
        if patient is None:
            notes.append(f"{folder}: no *{SCAN}.nii.gz, left out")
        else:
            patients.append(patient)
    if not patients and not faults:
        faults.append(f"{root}: no scan found; expected sub-*/anat/*{SCAN}.nii.gz")
    # Report files that no patient uses, except those of faulty folders, which have been reported.
    unused = [path for path in _not_taken(root, patients) if _person(path, root) not in faulty]
    if unused:
        notes.append(f"{root}: not taken: {some_of(unused, root)}")
    faults += _unused_labels(root, unused, {patient.id for patient in patients if patient.label})
    return Survey(tuple(patients), faults, notes)


def _patient(root: Path, folder: Path) -> Patient | None:
    if not PATIENT_NAME.fullmatch(folder.name):
        raise InputError(f"{folder}: not a patient's name; rename it to sub- and letters or digits")
    scans = _of_role(_anat_folders(folder), SCAN)
    if len(scans) > 1:
        names = ", ".join(str(path.relative_to(folder)) for path in scans)
        raise InputError(f"{folder}: several scans of one person ({names}); keep the one to be used")
    if not scans:
        if other := _of_role(_anat_folders(folder), SCAN, nifti=False):
            raise InputError(f"{other[0]}: is {foreign_format(other[0].name)}; {CONVERT}")
        stray = [*_of_role(_anat_folders(folder), BRAIN), *_of_role(_anat_folders(folder), LABEL)]
        if stray:
            raise InputError(f"{folder}: {stray[0].name} has no scan *{SCAN}.nii.gz beside it; add the scan or remove the folder")
        return None
    scan = scans[0]
    return Patient(folder.name, scan, _companion(root, scan, BRAIN), _companion(root, scan, LABEL))


def _companion(root: Path, scan: Path, role: str) -> Path | None:
    """Find the mask or label of a scan: the file named exactly like it, else the one that begins like it, else the only file of the role.

    Raises:
        InputError: several files match equally well, or the only one is in an unsupported format.
    """
    place = scan.parent.relative_to(root)
    folders = [scan.parent, *(path / place for path in sorted(root.glob("derivatives/*")))]
    candidates = _of_role(folders, role)
    if not candidates and (other := _of_role(folders, role, nifti=False)):
        raise InputError(f"{other[0]}: is {foreign_format(other[0].name)}; {CONVERT}")
    stem = NIFTI.sub("", scan.name).lower().removesuffix(SCAN)
    exact = [path for path in candidates if NIFTI.sub("", path.name).lower() == stem + role]
    alike = [path for path in candidates if path.name.lower().startswith(f"{stem}_")]
    best = exact or alike or candidates
    if len(best) > 1:
        names = ", ".join(str(path.relative_to(root)) for path in best)
        raise InputError(f"{scan}: several files *{role}.nii.gz ({names}); keep the one to be used")
    return best[0] if best else None


def _not_taken(root: Path, patients: Iterable[Patient]) -> list[Path]:
    """Files that belong to no patient: below patient folders all except sidecars, elsewhere those with names of images."""
    taken = {path for patient in patients for path in (patient.image, patient.brain, patient.label) if path}
    unused = []
    for path in files_below(root):
        parts = path.relative_to(root).parts
        if path in taken or parts[0] in APART or path.suffix.lower() in SIDECARS:
            continue
        if _person(path, root) or NIFTI.search(path.name) or foreign_format(path.name):
            unused.append(path)
    return unused


def _unused_labels(root: Path, unused: Iterable[Path], labelled: set[str]) -> list[str]:
    """One fault for each unused vessel label, except those of patients with another label."""
    lost = [path for path in unused if _has_role(path, LABEL) and _person(path, root) not in labelled]
    return [
        f"{path}: is a vessel label that no scan takes; put it beside its scan *{SCAN}.nii.gz, named like it, or remove it" for path in lost
    ]


def _person(path: Path, root: Path) -> str:
    """Name of the patient folder that contains a file; "" if there is none."""
    return next((name for name in path.relative_to(root).parts[:-1] if PATIENT_NAME.fullmatch(name)), "")


def _anat_folders(patient: Path) -> list[Path]:
    return [patient / "anat", *sorted(patient.glob("ses-*/anat"))]


def _of_role(folders: list[Path], role: str, nifti: bool = True) -> list[Path]:
    """Files of a role in some folders, either in NIfTI or in an unsupported format; hidden files are skipped."""
    files = (path for folder in folders if folder.is_dir() for path in folder.iterdir() if not path.name.startswith("."))
    return sorted(path for path in files if _has_role(path, role) and bool(NIFTI.search(path.name)) == nifti)


def _has_role(path: Path, role: str) -> bool:
    """Whether a file name ends with the role and the suffix of an image format, ignoring case."""
    return bool(NIFTI.search(path.name) or foreign_format(path.name)) and without_ending(path.name).lower().endswith(role)
