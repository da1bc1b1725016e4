"""Checking every patient's files before anything is trained: all faults at once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from angiosynth.arrays import SpacingMm
from angiosynth.data.bids import Patient
from angiosynth.data.nifti import LoadedVolume, Volume, load_mask, load_volume
from angiosynth.errors import InputError
from angiosynth.runtime.progress import progress, say

# A brain mask often cuts off a few voxels of a vessel at its surface; more means that mask and label do not belong together.
LABEL_OUTSIDE_BRAIN = 0.01  # share of the label's voxels
# qform and sform of one grid differ by rounding; a tenth of a voxel is far above that and far below a real shift.
GRID_TOLERANCE = 0.1  # voxels


@dataclass(frozen=True)
class PatientFacts:
    """What the cohort knows of a patient. Shape and spacing are in canonical order, orientation is the file's own.

    `sha256` is over the digests of scan, mask and label. Without a mask `brain_voxels` counts the whole volume.
    """

    id: str
    shape: tuple[int, int, int]
    spacing_mm: SpacingMm
    orientation: str
    brain_voxels: int
    vessel_voxels: int
    labelled: bool
    masked: bool
    sha256: str


def check_patients(patients: Sequence[Patient]) -> tuple[list[PatientFacts], list[str]]:
    """Read every file once, one patient in memory at a time.

    Returns:
        Facts of the patients without fault, and all faults, one line each, with the file's name.
    """
    facts: list[PatientFacts] = []
    faults: list[str] = []
    seen: dict[str, str] = {}
    for patient in progress(patients, "checking scans", len(patients)):
        found, wrong, scan_digest = _check(patient)
        twin = seen.setdefault(scan_digest, patient.id) if scan_digest else patient.id
        if twin != patient.id:
            wrong.append(f"{patient.image}: the same scan as {twin}'s, so one person could be in two splits; remove one of them")
        faults += wrong
        if found is not None and not wrong:
            facts.append(found)
    return facts, faults


def same_grid(first: Volume, second: Volume) -> bool:
    """Whether two canonical volumes have one shape and their corners lie within a tenth of a voxel of each other."""
    if first.array.shape != second.array.shape:
        return False
    corners = np.array([[x, y, z, 1.0] for x in (0, 1) for y in (0, 1) for z in (0, 1)])
    corners[:, :3] *= np.array(first.array.shape) - 1
    distance = np.linalg.norm((corners @ (first.affine - second.affine).T)[:, :3], axis=1)
    return bool(distance.max() <= GRID_TOLERANCE * min(first.spacing_mm))


def grid_fault(path: Path, volume: Volume, scan: Volume) -> str:
    """One line that says how a mask's grid differs from its scan's."""
    if volume.array.shape != scan.array.shape:
        return f"{path}: shape {volume.array.shape} is not the scan's {scan.array.shape}; export it on the scan's grid"
    return f"{path}: affine is not the scan's, though the shapes agree; export it on the scan's grid"


def _check(patient: Patient) -> tuple[PatientFacts | None, list[str], str]:
    faults: list[str] = []
    scan = _try_load(patient.image, False, faults)
    brain = _try_load(patient.brain, True, faults)
    label = _try_load(patient.label, True, faults)
    if patient.brain is None:
        say(f"{patient.image}: no brain mask; the whole volume is used as the brain")
    if scan is not None:
        for path, other in ((patient.brain, brain), (patient.label, label)):
            if path is not None and other is not None and not same_grid(scan.volume, other.volume):
                faults.append(grid_fault(path, other.volume, scan.volume))
        if scan.volume.array.min() == scan.volume.array.max():
            faults.append(f"{patient.image}: every voxel has the same value; export the scan again")
    if not faults and brain is not None and label is not None and patient.label is not None:
        faults += _label_outside(patient.label, label, brain)
    if scan is None or faults:
        return None, faults, scan.sha256 if scan else ""
    return _facts(patient, scan, brain, label), faults, scan.sha256


def _try_load(path: Path | None, mask: bool, faults: list[str]) -> LoadedVolume | None:
    if path is None:
        return None
    try:
        return load_mask(path) if mask else load_volume(path)
    except InputError as error:
        faults.append(str(error))
        return None


def _label_outside(path: Path, label: LoadedVolume, brain: LoadedVolume) -> list[str]:
    voxels = int(np.count_nonzero(label.volume.array))
    outside = voxels - int(np.count_nonzero(label.volume.array & brain.volume.array))
    if outside > LABEL_OUTSIDE_BRAIN * voxels:
        share = outside / voxels
        return [f"{path}: {outside} of {voxels} voxels ({share:.1%}) lie outside the brain mask; check that mask and label belong together"]
    if outside:
        say(f"{path}: {outside} of {voxels} voxels lie outside the brain mask and are left out")
    return []


def _facts(patient: Patient, scan: LoadedVolume, brain: LoadedVolume | None, label: LoadedVolume | None) -> PatientFacts:
    shape = scan.volume.array.shape
    digests = "/".join(part.sha256 if part else "none" for part in (scan, brain, label))
    inside = None if label is None else label.volume.array if brain is None else label.volume.array & brain.volume.array
    return PatientFacts(
        id=patient.id,
        shape=(shape[0], shape[1], shape[2]),
        spacing_mm=scan.volume.spacing_mm,
        orientation=scan.orientation,
        brain_voxels=int(np.count_nonzero(brain.volume.array)) if brain else int(scan.volume.array.size),
        vessel_voxels=0 if inside is None else int(np.count_nonzero(inside)),
        labelled=label is not None,
        masked=brain is not None,
        sha256=hashlib.sha256(digests.encode()).hexdigest(),
    )
