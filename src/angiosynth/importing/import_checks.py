"""Read and check a lab's files of one patient, interpreted by the import's rules."""

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
NEAR_GRID = 3.0  # voxels; a header whose grid deviates less than this was not a program's default
LEAST_BACKGROUND = 0.05  # least fraction of zeros in a stripped scan; heads with skull, and crops of brains, have fewer


@dataclass(frozen=True)
class Rules:
    """How to interpret ambiguous files.

    Attributes:
        vessel_values: classes of a label that are vessels; empty for labels with a single class, None for all classes.
        without_brain: rule for scans without a brain mask.
        trust_shape: if a mask has the scan's stored shape, place it voxel by voxel on the scan's grid, whatever its header says.
        geometry: description of the grid to use if a header contradicts itself.
        series: number of the DICOM series to read from folders with several.
    """

    vessel_values: ClassRanges = ()
    without_brain: WithoutBrain = "refuse"
    trust_shape: bool = False
    geometry: GridSource | None = None
    series: int | None = None


@dataclass(frozen=True)
class Checked:
    """A patient whose files passed all checks.

    Attributes:
        sources: the files.
        shape: (x, y, z) of the scan.
        spacing_mm: of the scan.
        orientation: stored orientation of the scan, such as "LPS".
        grid_from: description of the grid that was used.
        vessel_voxels: number of label voxels; 0 without a label.
        brain_voxels: number of voxels of the brain mask, or of the scan if the whole volume is used.
        notes: how files were interpreted, one line each.
        sha256: digests of the files by kind ("scan", "vessels", "brain"); for a DICOM series, one digest over all slices.
        masks: masks by kind ("vessels", "brain"), or None if only the other fields are kept.
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
    """Intermediate results for one patient: masks and digests by kind ("brain", "vessels"), notes and faults, one line each."""

    sources: Sources
    rules: Rules
    masks: dict[str, Mask] = field(default_factory=dict)
    sha256: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def check_files(sources: Sources, rules: Rules, copies: CopySearch) -> Checked:
    """Read and check one patient's files.

    Args:
        sources: the files.
        rules: how to interpret ambiguous files.
        copies: scans and labels of other patients; this patient's are added.

    Raises:
        InputError: the files cannot be used; one line for each fault.
    """
    # The scan, then the masks on its grid; each of these steps appends its notes and faults to `reading`.
    scan = load_volume(sources.scan, prefer=rules.geometry, series=rules.series)
    array = scan.volume.array
    reading = _Reading(sources, rules, sha256={"scan": scan.sha256})
    if scan.grid.conflict:
        reading.notes.append(f"scan: {scan.grid.conflict}; grid taken from {scan.grid.source}")
    is_scan = _check_scan(scan, reading)
    if sources.brain is not None:
        _read_mask(sources.brain, "brain", scan, reading)
    if is_scan:
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
    """Whether the scan has more than two values; otherwise adds a fault."""
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
    """Add a fault if the scan is a copy of another patient's, and a note if it is nearly one."""
    path = reading.sources.scan
    twin = copies.scan(str(path), scan.volume.array, reading.masks.get("brain"))
    if fault := copy_fault(path, "scan", twin):
        reading.faults.append(fault)
    if note := near_copy_note(twin):
        reading.notes.append(f"scan: {note}")


def _read_mask(path: Path, kind: str, scan: LoadedVolume, reading: _Reading) -> None:
    """Read a mask of a kind, "brain" or "vessels", from voxels or from tubes (vessels only), or add its faults."""
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
    """Load a mask on the grid of its header or, if that differs from the scan's and the shape is trusted, on the scan's grid.

    Trusting the shape means trusting the order of the stored voxels, since the axes of a wrong header are meaningless.

    Raises:
        InputError: the mask cannot be read, or it does not lie on the scan's grid.
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
            # The header is right except for a small shift, so taking the mask voxel by voxel would rotate or mirror it.
            raise InputError(f"{path}: lies {voxels:.1f} voxels off the scan's grid by its header; export it on the scan's grid")
    has_scans_shape = loaded.stored_shape == scan.stored_shape
    if not (rules.trust_shape and has_scans_shape):
        hint = "; --trust-shape takes it voxel by voxel, in stored order" if has_scans_shape else ""
        if rules.trust_shape:
            hint = f"; --trust-shape needs one stored shape, and {loaded.stored_shape} is not {scan.stored_shape}"
        raise InputError(grid_fault(path, loaded.volume, scan.volume) + hint)
    reading.notes.append(f"{kind}: affine differs, taken voxel by voxel")
    return load_volume(path, grid=scan.grid)


def _check_label_copies(copies: CopySearch, reading: _Reading) -> None:
    """Add a fault if the label is a copy of another patient's."""
    path = reading.sources.vessels
    if (
        path is not None
        and "vessels" in reading.masks
        and (fault := copy_fault(path, "label", copies.label(str(path), reading.masks["vessels"])))
    ):
        reading.faults.append(fault)


def _without_brain(scan: LoadedVolume, reading: _Reading) -> None:
    """Apply the rule for scans without a brain mask, or add a fault. Whether a scan is skull-stripped is never guessed."""
    path, rule = reading.sources.scan, reading.rules.without_brain
    if rule == "whole":
        reading.notes.append("no brain mask: whole volume")
    elif rule == "nonzero":
        zeros = float(np.mean(scan.volume.array == 0))
        if zeros < LEAST_BACKGROUND:
            reading.faults.append(
                f"{path}: {zeros:.1%} of its voxels are 0, so its skull is not stripped; make a brain mask (docs/own-scans.md)"
            )
            return
        reading.masks["brain"] = _filled(scan.volume.array != 0)
        reading.notes.append("brain: largest piece that is not 0, filled")
    else:
        reading.faults.append(
            f"{path}: no brain mask; make one (docs/own-scans.md) or, were the skull stripped, give --without-brain nonzero"
        )


def _filled(mask: Mask) -> Mask:
    """The largest connected component of a mask, with its holes filled."""
    pieces, count = ndimage.label(mask)
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)
    sizes[0] = 0
    filled: Mask = ndimage.binary_fill_holes(pieces == sizes.argmax())
    return filled


def _check_label(reading: _Reading, shape: tuple[int, ...]) -> None:
    """Check that the label lies within the brain and is not too small."""
    masks: Mapping[str, Mask] = reading.masks
    if "vessels" not in masks:
        return
    placement = label_in_brain(masks["vessels"], masks["brain"] if "brain" in masks else np.ones(shape, np.bool_))
    if placement.fault:
        reading.faults.append(f"{reading.sources.vessels}: {placement.fault}")
    if placement.note:
        reading.notes.append(f"vessels: {placement.note}")
    brain_voxels = np.count_nonzero(masks["brain"]) if "brain" in masks else np.prod(shape)
    if note := small_label_note(np.count_nonzero(masks["vessels"]) / max(1, int(brain_voxels))):
        reading.notes.append(note)
