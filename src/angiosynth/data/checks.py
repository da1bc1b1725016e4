"""Check the files of all patients before any training, and report all faults together."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from angiosynth.arrays import SpacingMm
from angiosynth.data.bids import Patient
from angiosynth.data.copies import CopySearch, Twin
from angiosynth.data.grids import grid_fault, label_in_brain, same_grid
from angiosynth.data.intensity import intensity_range
from angiosynth.data.nifti import LoadedVolume, load_mask, load_volume
from angiosynth.errors import InputError
from angiosynth.runtime.progress import progress, say
from angiosynth.settings import IntensitySettings


@dataclass(frozen=True)
class PatientFacts:
    """A patient's entry in the cohort.

    Attributes:
        id: name of the patient's folder.
        shape, spacing_mm: of the scan in canonical order.
        orientation: of the scan as stored, such as "LPS".
        brain_voxels: number of voxels in the brain mask; without a mask that of the whole volume.
        vessel_voxels: number of labelled voxels inside the brain.
        labelled, masked: whether the patient has a vessel label and a brain mask.
        sha256: digest of the digests of scan, mask and label.
        grid_from: header field from which the scan's grid was taken: "sform", "qform" or "pixdim".
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
    grid_from: str = "sform"


def check_patients(
    patients: Sequence[Patient], intensity: IntensitySettings | None = None, copies: CopySearch | None = None
) -> tuple[list[PatientFacts], list[str]]:
    """Check the files of all patients against the requirements of later stages. One patient is in memory at a time.

    Args:
        patients: files of each patient.
        intensity: rule by which later stages scale the scans.
        copies: scans and labels of earlier patients, such as those of another site; those of `patients` are added.

    Returns:
        The entries of patients without faults, and all faults, one line each, which names the file.
    """
    entries: list[PatientFacts] = []
    faults: list[str] = []
    copies = CopySearch() if copies is None else copies
    for patient in progress(patients, "checking scans", len(patients)):
        entry, patient_faults = _check(patient, intensity or IntensitySettings(), copies)
        faults += patient_faults
        if entry is not None and not patient_faults:
            entries.append(entry)
    return entries, faults


def copy_fault(path: Path, role: str, twin: Twin | None) -> str:
    """Return a message for an exact copy; `role` is "scan" or "label". "" if there is no copy or only a near copy."""
    if twin is None or twin.near:
        return ""
    return f"{path}: the same {role} as {twin.name}, so one person could be in two splits; remove one of them"


def near_copy_note(twin: Twin | None) -> str:
    """Return a note on a near copy; "" if there is none."""
    if twin is None or not twin.near:
        return ""
    return f"looks like {twin.name} processed once more (correlation {twin.correlation:.2f}); if they are one person's, remove one of them"


def _check(patient: Patient, intensity: IntensitySettings, copies: CopySearch) -> tuple[PatientFacts | None, list[str]]:
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
        faults += _scan_faults(patient, scan, brain, intensity, copies, on_grid=not faults)
    if label is not None and patient.label is not None:
        faults += _label_faults(patient.label, label, scan, brain, copies, on_grid=not faults)
    if scan is None or faults:
        return None, faults
    return _facts(patient, scan, brain, label), faults


def _scan_faults(
    patient: Patient, scan: LoadedVolume, brain: LoadedVolume | None, intensity: IntensitySettings, copies: CopySearch, *, on_grid: bool
) -> list[str]:
    """Faults of a scan: constant values, no contrast in the brain, copy of an earlier scan."""
    array = scan.volume.array
    if array.min() == array.max():
        return [f"{patient.image}: every voxel has the same value; export the scan again"]
    twin = copies.scan(str(patient.image), array, brain.volume.array if brain and on_grid else None)
    if note := near_copy_note(twin):
        say(f"{patient.image}: {note}")
    if fault := copy_fault(patient.image, "scan", twin):
        return [fault]
    try:
        if on_grid:
            intensity_range(array[brain.volume.array] if brain else array.ravel(order="K").copy(), intensity, patient.image)
    except InputError as error:
        return [str(error)]
    return []


def _label_faults(
    path: Path, label: LoadedVolume, scan: LoadedVolume | None, brain: LoadedVolume | None, copies: CopySearch, *, on_grid: bool
) -> list[str]:
    mask = label.volume.array
    if fault := copy_fault(path, "label", copies.label(str(path), mask)):
        return [fault] if on_grid else []  # the scan is a copy too, and its fault was reported
    if not on_grid or scan is None:
        return []
    position = label_in_brain(mask, brain.volume.array if brain else np.ones_like(mask))
    if position.note:
        say(f"{path}: {position.note}")
    return [f"{path}: {position.fault}"] if position.fault else []


def _try_load(path: Path | None, mask: bool, faults: list[str]) -> LoadedVolume | None:
    if path is None:
        return None
    try:
        return load_mask(path) if mask else load_volume(path)
    except InputError as error:
        faults.append(str(error))
        return None


def _facts(patient: Patient, scan: LoadedVolume, brain: LoadedVolume | None, label: LoadedVolume | None) -> PatientFacts:
    shape = scan.volume.array.shape
    digests = "/".join(volume.sha256 if volume else "none" for volume in (scan, brain, label))
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
        grid_from=scan.grid.source,
    )
