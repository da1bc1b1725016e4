"""Finding patients in a BIDS folder: scans, brain masks and vessel labels by their names.

A patient is one person, `sub-<letters and digits>`, with exactly one TOF-MRA scan. A person with several scans
(sessions, runs) is refused rather than guessed at: which one counts is the lab's decision, and naming each
session a patient of its own would let one person into two splits.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from angiosynth.errors import InputError
from angiosynth.runtime.progress import say

PATIENT_NAME = re.compile(r"sub-[A-Za-z0-9]+")
SUFFIXES = (".nii", ".nii.gz")
SCAN, BRAIN, LABEL = "_angio", "_desc-brain_mask", "_desc-vessel_mask"


@dataclass(frozen=True)
class Patient:
    """One person's files. `id` is the folder's name, such as "sub-01"."""

    id: str
    image: Path
    brain: Path | None
    label: Path | None


def find_patients(root: Path) -> tuple[Patient, ...]:
    """All patients under `root`, sorted by name.

    Scans are root/sub-*/[ses-*/]anat/*_angio.nii[.gz]; masks (*_desc-brain_mask) and labels (*_desc-vessel_mask) lie
    beside them or in the same place under root/derivatives/<any>/. Of several masks the one named like the scan counts.

    Raises:
        InputError: the folder is missing or has no scan, or files cannot be told apart; one line for each fault.
    """
    patients, faults = survey(root)
    if faults:
        raise InputError("\n".join(faults))
    return patients


def survey(root: Path) -> tuple[tuple[Patient, ...], list[str]]:
    """As `find_patients`, with the faults (one line each) returned beside the patients that have none."""
    if not root.is_dir():
        return (), [f"{root}: no such folder; name a BIDS folder with sub-*/anat/*_angio.nii.gz"]
    patients: list[Patient] = []
    faults: list[str] = []
    for folder in sorted(path for path in root.glob("sub-*") if path.is_dir()):
        try:
            patient = _patient(root, folder)
        except InputError as error:
            faults.append(str(error))
            continue
        if patient is None:
            say(f"{folder}: no *{SCAN}.nii.gz, left out")
        else:
            patients.append(patient)
    if not patients and not faults:
        faults.append(f"{root}: no scan found; expected sub-*/anat/*{SCAN}.nii.gz")
    return tuple(patients), faults


def _patient(root: Path, folder: Path) -> Patient | None:
    if not PATIENT_NAME.fullmatch(folder.name):
        raise InputError(f"{folder}: not a patient's name; rename it to sub- and letters or digits")
    scans = _files(_anat_folders(folder), SCAN)
    if len(scans) > 1:
        names = ", ".join(str(path.relative_to(folder)) for path in scans)
        raise InputError(f"{folder}: several scans of one person ({names}); keep the one to be used")
    if not scans:
        stray = [*_files(_anat_folders(folder), BRAIN), *_files(_anat_folders(folder), LABEL)]
        if stray:
            raise InputError(f"{folder}: {stray[0].name} has no scan *{SCAN}.nii.gz beside it; add the scan or remove the folder")
        return None
    scan = scans[0]
    return Patient(folder.name, scan, _companion(root, scan, BRAIN), _companion(root, scan, LABEL))


def _companion(root: Path, scan: Path, ending: str) -> Path | None:
    """The mask or label that belongs to a scan: named exactly like it, else beginning like it, else the only one there."""
    place = scan.parent.relative_to(root)
    folders = [scan.parent, *(path / place for path in sorted(root.glob("derivatives/*")))]
    found = _files(folders, ending)
    stem = scan.name.removesuffix(".gz").removesuffix(".nii").removesuffix(SCAN)
    exact = [path for path in found if path.name in {stem + ending + suffix for suffix in SUFFIXES}]
    alike = [path for path in found if path.name.startswith(f"{stem}_")]
    best = exact or alike or found
    if len(best) > 1:
        names = ", ".join(str(path.relative_to(root)) for path in best)
        raise InputError(f"{scan}: several files *{ending}.nii.gz ({names}); keep the one to be used")
    return best[0] if best else None


def _anat_folders(patient: Path) -> list[Path]:
    return [patient / "anat", *sorted(patient.glob("ses-*/anat"))]


def _files(folders: list[Path], ending: str) -> list[Path]:
    """Files by the end of their name; hidden ones are some system's own notes."""
    endings = tuple(ending + suffix for suffix in SUFFIXES)
    found = (path for folder in folders if folder.is_dir() for path in folder.iterdir())
    return sorted(path for path in found if path.name.endswith(endings) and not path.name.startswith("."))
