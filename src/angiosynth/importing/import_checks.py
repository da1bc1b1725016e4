"""Check a lab's files of one patient, and interpret them by the import's rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from scipy import ndimage

from angiosynth.arrays import Mask
from angiosynth.data.checks import copy_fault, near_copy_note
from angiosynth.data.copies import CopySearch
from angiosynth.data.formats import TUBES
from angiosynth.data.geometry import GridSource
from angiosynth.data.grids import grid_fault, grids_apart, label_in_brain, same_grid
from angiosynth.data.nifti import LoadedVolume, load_volume
from angiosynth.errors import InputError
from angiosynth.importing.classes import ClassRanges, one_mask
from angiosynth.importing.known_labels import no_vessel_label, small_label_note
from angiosynth.importing.pairing import Sources
from angiosynth.importing.tubes import drawn_tubes
from angiosynth.reading import file_digest

WithoutBrain: TypeAlias = Literal["refuse", "nonzero", "whole"]
NEAR_GRID = 3.0  # voxels; a header that fits so well is no program's default
LEAST_BACKGROUND = 0.05  # of a scan's voxels; a head that is not stripped, or a crop of a brain, has less that is exactly 0


@dataclass(frozen=True)
class Rules:
    """How to interpret files that are ambiguous.

    vessel_values: the classes of a label that are vessels; empty where it has but one, None for every class. without_brain: the rule
    for a scan without a brain mask. trust_shape: place a mask of the scan's stored shape voxel by voxel on the scan's grid, whatever its
    header says. geometry: the description of the grid to use where a header contradicts itself. series: the number of the DICOM series to
    take from folders that hold several.
    """

    vessel_values: ClassRanges = ()
    without_brain: WithoutBrain = "refuse"
    trust_shape: bool = False
    geometry: GridSource | None = None
    series: int | None = None


@dataclass(frozen=True)
class Checked:
    """One patient whose files are sound. `masks` is None where only facts are kept; `notes` describe how files were interpreted.

    sha256: of the files as they were read, by kind ("scan", "vessels", "brain"); of a series, over its slices'.
    """

    sources: Sources
    shape: tuple[int, ...]
    spacing_mm: tuple[float, float, float]
    orientation: str
    grid_from: GridSource
    vessel_voxels: int
    brain_voxels: int
    notes: tuple[str, ...]
    sha256: dict[str, str]
    masks: dict[str, Mask] | None


@dataclass
class _Reading:
    """The reading of one patient in progress: masks and files' SHA-256 by kind ("brain", "vessels"), notes and faults, one line each."""

    sources: Sources
    rules: Rules
    masks: dict[str, Mask] = field(default_factory=dict)
    sha256: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def check_files(sources: Sources, rules: Rules, copies: CopySearch) -> Checked:
    """Read one patient's files.

    Args:
        sources: the files.
        rules: how to interpret ambiguous files.
        copies: scans and labels seen before; the patient's are added.

    Raises:
        InputError: they cannot be taken; one line for each fault.
    """
    scan = load_volume(sources.scan, prefer=rules.geometry, series=rules.series)
    array = scan.volume.array
    reading = _Reading(sources, rules, sha256={"scan": scan.sha256})
    if scan.grid.conflict:
        reading.notes.append(f"scan: {scan.grid.conflict}; grid taken from {scan.grid.source}")
    sound = _check_scan(scan, reading)
    if sources.brain is not None:
        _read_mask(sources.brain, "brain", scan, reading)
    if sound:
        _check_scan_copies(scan, copies, reading)
    if sources.vessels is not None:
        _read_mask(sources.vessels, "vessels", scan, reading)
    _check_label_copies(copies, reading)
    if sources.brain is None:
        _without_brain(scan, reading)
    if not reading.faults:
        _check_label(reading, array.shape)
    if sources.vessels is None:
        reading.notes.append("no label: can be segmented, or held out for the privacy audit, not learnt from")
    if reading.faults:
        raise InputError(*reading.faults)
    counts = {kind: int(np.count_nonzero(mask)) for kind, mask in reading.masks.items()}
    return Checked(
        sources,
        array.shape,
        scan.volume.spacing_mm,
        scan.orientation,
        scan.grid.source,
        counts.get("vessels", 0),
        counts.get("brain", array.size),
        tuple(reading.notes),
        reading.sha256,
        reading.masks,
    )


def _check_scan(scan: LoadedVolume, reading: _Reading) -> bool:
    """Whether the scan has the values of one; a fault where it has not."""
    path, array = reading.sources.scan, scan.volume.array
    low, high = array.min(), array.max()
    if low == high:
        reading.faults.append(f"{path}: every voxel has the same value; export the scan again")
        return False
    if ((array == low) | (array == high)).all():
        reading.faults.append(f"{path}: has two values only, {low:g} and {high:g}, so it is a mask and no scan; mend --scan")
        return False
    return True


def _check_scan_copies(scan: LoadedVolume, copies: CopySearch, reading: _Reading) -> None:
    path = reading.sources.scan
    twin = copies.scan(str(path), scan.volume.array, reading.masks.get("brain"))
    if fault := copy_fault(path, "scan", twin):
        reading.faults.append(fault)
    if note := near_copy_note(twin):
        reading.notes.append(f"scan: {note}")


def _read_mask(path: Path, kind: str, scan: LoadedVolume, reading: _Reading) -> None:
    try:
        if kind == "vessels" and (reason := no_vessel_label(path)):
            raise InputError(f"{path}: {reason}")
        if kind == "vessels" and TUBES.search(path.name):
            reading.masks[kind], note = drawn_tubes(path, scan.volume)
            reading.sha256[kind] = str(file_digest(path).hexdigest())
            reading.notes.append(note)
            return
        loaded = _on_grid(path, kind, scan, reading)
        reading.sha256[kind] = loaded.sha256
        reading.masks[kind] = one_mask(loaded.volume.array, path, kind, reading.rules.vessel_values, reading.notes)
    except InputError as error:
        reading.faults += error.lines


def _on_grid(path: Path, kind: str, scan: LoadedVolume, reading: _Reading) -> LoadedVolume:
    """A mask on the grid of its header or, where that does not fit and the shape is trusted, voxel by voxel on the scan's grid.

    Trusting the shape means to trust the order of the stored voxels: the axes of a wrong header mean nothing.
    """
    rules = reading.rules
    try:
        loaded = load_volume(path, prefer=rules.geometry)
    except InputError:
        if not rules.trust_shape:
            raise
        loaded = load_volume(path, grid=scan.grid)  # raises again if the fault is not in the header's geometry
    else:
        if same_grid(scan.volume, loaded.volume):
            return loaded
        if loaded.orientation != scan.orientation and (voxels := grids_apart(scan.volume, loaded.volume)) < NEAR_GRID:
            # The header is nearly right but for a shift: voxel by voxel the mask would be rotated or mirrored.
            raise InputError(f"{path}: lies {voxels:.1f} voxels off the scan's grid by its header; export it on the scan's grid")
    stored_alike = loaded.stored_shape == scan.stored_shape
    if not (rules.trust_shape and stored_alike):
        hint = "; --trust-shape takes it voxel by voxel, in stored order" if stored_alike else ""
        if rules.trust_shape:
            hint = f"; --trust-shape needs one stored shape, and {loaded.stored_shape} is not {scan.stored_shape}"
        raise InputError(grid_fault(path, loaded.volume, scan.volume) + hint)
    reading.notes.append(f"{kind}: affine differs, taken voxel by voxel")
    return load_volume(path, grid=scan.grid)


def _check_label_copies(copies: CopySearch, reading: _Reading) -> None:
    path = reading.sources.vessels
    if (
        path is not None
        and "vessels" in reading.masks
        and (fault := copy_fault(path, "label", copies.label(str(path), reading.masks["vessels"])))
    ):
        reading.faults.append(fault)


def _without_brain(scan: LoadedVolume, reading: _Reading) -> None:
    """Apply the rule for scans without a brain mask; whether a scan is skull-stripped is never guessed."""
    path, rule = reading.sources.scan, reading.rules.without_brain
    if rule == "whole":
        reading.notes.append("no brain mask: whole volume")
    elif rule == "nonzero":
        empty = float(np.mean(scan.volume.array == 0))
        if empty < LEAST_BACKGROUND:
            reading.faults.append(
                f"{path}: {empty:.1%} of its voxels are 0, so its skull is not stripped; make a brain mask (docs/own-scans.md)"
            )
            return
        reading.masks["brain"] = _filled(scan.volume.array != 0)
        reading.notes.append("brain: largest piece that is not 0, filled")
    else:
        reading.faults.append(
            f"{path}: no brain mask; make one (docs/own-scans.md) or, were the skull stripped, give --without-brain nonzero"
        )


def _filled(mask: Mask) -> Mask:
    """The largest connected component of a mask, its holes filled."""
    pieces, count = ndimage.label(mask)
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)
    sizes[0] = 0
    filled: Mask = ndimage.binary_fill_holes(pieces == sizes.argmax())
    return filled


def _check_label(reading: _Reading, shape: tuple[int, ...]) -> None:
    masks: Mapping[str, Mask] = reading.masks
    if "vessels" not in masks:
        return
    lies = label_in_brain(masks["vessels"], masks["brain"] if "brain" in masks else np.ones(shape, np.bool_))
    if lies.fault:
        reading.faults.append(f"{reading.sources.vessels}: {lies.fault}")
    if lies.note:
        reading.notes.append(f"vessels: {lies.note}")
    brain_voxels = np.count_nonzero(masks["brain"]) if "brain" in masks else np.prod(shape)
    if note := small_label_note(np.count_nonzero(masks["vessels"]) / max(1, int(brain_voxels))):
        reading.notes.append(note)
