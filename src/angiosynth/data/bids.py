"""Finding patients in a BIDS folder: scans, brain masks and vessel labels by their names.

A patient is one person, `sub-<letters and digits>`, with exactly one TOF-MRA scan. A person with several scans
(sessions, runs) is refused rather than guessed at: which one counts is the lab's decision, and making each
session a separate patient would let one person into two splits.
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
SIDECARS = (".json", ".tsv", ".bval", ".bvec")  # text that other programs keep beside an image
# Folders of a BIDS data set that hold no patient's images in BIDS form.
APART = ("sourcedata", "code", "phenotype", "stimuli")


@dataclass(frozen=True)
class Patient:
    """One person's files. `id` is the folder's name, such as "sub-01"."""

    id: str
    image: Path
    brain: Path | None
    label: Path | None


@dataclass(frozen=True)
class Survey:
    """The content of a BIDS folder: patients without fault, faults, and notes on files that are not used, one line each."""

    patients: tuple[Patient, ...]
    faults: list[str]
    notes: list[str]


def find_patients(root: Path) -> tuple[Patient, ...]:
    """Find all patients under `root`, sorted by name.

    Scans are root/sub-*/[ses-*/]anat/*_angio.nii[.gz]; masks (*_desc-brain_mask) and labels (*_desc-vessel_mask) lie
    beside them or in the same place under root/derivatives/<any>/. Of several masks the one named like the scan counts. Capital letters
    do not count, links to files and folders are followed.

    Raises:
        InputError: the folder is missing or has no scan, or files cannot be told apart; one line for each fault.
    """
    content = survey(root)
    if content.faults:
        raise InputError(*content.faults)
    return content.patients


def survey(root: Path) -> Survey:
    """As `find_patients`, with faults and notes returned beside the patients that have none."""
    if not root.is_dir():
        return Survey((), [f"{root}: no such folder; name a BIDS folder with sub-*/anat/*_angio.nii.gz"], [])
    patients: list[Patient] = []
    faults: list[str] = []
    notes: list[str] = []
    faulty: set[str] = set()
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
    """The mask or label that belongs to a scan: named exactly like it, else beginning like it, else the only one of its role.

    Raises:
        InputError: several cannot be told apart, or the only one is in a format that is not read.
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
    """Files that belong to no patient: all below patients' folders but text beside images, elsewhere those that are named like images."""
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
    """A fault for each vessel label that is not taken, but of patients who have another one."""
    lost = [path for path in unused if _has_role(path, LABEL) and _person(path, root) not in labelled]
    return [
        f"{path}: is a vessel label that no scan takes; put it beside its scan *{SCAN}.nii.gz, named like it, or remove it" for path in lost
    ]


def _person(path: Path, root: Path) -> str:
    """The patient's folder that a file lies in, "" for none."""
    return next((part for part in path.relative_to(root).parts[:-1] if PATIENT_NAME.fullmatch(part)), "")


def _anat_folders(patient: Path) -> list[Path]:
    return [patient / "anat", *sorted(patient.glob("ses-*/anat"))]


def _of_role(folders: list[Path], role: str, nifti: bool = True) -> list[Path]:
    """Files of a role in folders, in NIfTI or in a format that is not read; hidden files are left out."""
    files = (path for folder in folders if folder.is_dir() for path in folder.iterdir() if not path.name.startswith("."))
    return sorted(path for path in files if _has_role(path, role) and bool(NIFTI.search(path.name)) == nifti)


def _has_role(path: Path, role: str) -> bool:
    """Whether a name ends with the role and an image's ending, in any letters."""
    return bool(NIFTI.search(path.name) or foreign_format(path.name)) and without_ending(path.name).lower().endswith(role)
