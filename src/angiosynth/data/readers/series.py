"""Assemble a DICOM series from the slices in a folder."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from angiosynth.data.folders import leads_outside
from angiosynth.data.formats import is_dicom
from angiosynth.data.readers.described import LPS_TO_RAS, Described, nifti_header, three_axes
from angiosynth.data.readers.dicom import Slice, read_slices, read_voxels
from angiosynth.data.readers.frames import DCM2NIIX
from angiosynth.data.stored import MOST_VOXELS, refuse_memory
from angiosynth.errors import InputError

MOST_SLICES = 4096  # slices of all series in a folder
SERIES_SHOWN = 20
# Positions may have only three digits; a missing slice doubles the gap.
GAP_TOLERANCE, GAP_TOLERANCE_MM = 0.01, 2e-3


def describe_series(folder: Path, number: int | None = None) -> Described:
    """Read the headers of the slices in a folder and assemble one series.

    Args:
        folder: contains the slices directly; subfolders and files in other formats are ignored.
        number: number of the series, as assigned by the scanner; None if the folder contains only one series.

    Raises:
        InputError: there is no slice or no unique series; a slice is damaged, missing or on another grid.
    """
    paths = series_files(folder)
    if not paths:
        raise InputError(f"{folder}: is a folder without DICOM slices; name a file, or the folder that holds a series")
    slices = _one_series(folder, _all_slices(folder, paths), number)
    slices = _in_order(folder, slices)
    shape = three_axes((*slices[0].shape, len(slices)), folder)
    _refuse_size(folder, shape, slices)
    first, last = (np.array(plane.position_mm) for plane in (slices[0], slices[-1]))
    steps = np.column_stack([slices[0].rows_mm, slices[0].columns_mm, (last - first) / (len(slices) - 1)])
    # Slices with different scaling are scaled while they are read; a common scaling goes into the header.
    scaled = len({plane.scaling for plane in slices}) > 1
    dtype = np.dtype("<f4") if scaled else slices[0].dtype.newbyteorder("<")
    header = nifti_header(folder, shape, dtype, LPS_TO_RAS @ steps, LPS_TO_RAS @ first)
    if not scaled:
        header["scl_slope"], header["scl_inter"] = slices[0].scaling
    return Described(header, lambda: _voxels(slices, shape, dtype, scaled))


def series_files(folder: Path) -> list[Path]:
    """List the DICOM files directly in a folder.

    Raises:
        InputError: there are more than MOST_SLICES; one is a link that leads outside the folder; or a file with the same suffix is not
            DICOM, such as a truncated slice, without which the volume would lack a slice.
    """
    files = sorted(
        path for path in folder.iterdir() if not path.name.startswith(".") and path.is_file() and path.name.upper() != "DICOMDIR"
    )
    paths = [path for path in files if is_dicom(path)]
    endings = {_ending(path) for path in paths}
    if strange := [path for path in files if path not in paths and _ending(path) in endings]:
        raise InputError(f"{strange[0]}: is named like the slices beside it and is no DICOM file; copy it again or remove it")
    if len(paths) > MOST_SLICES:
        raise InputError(f"{folder}: holds {len(paths):,} DICOM files, {MOST_SLICES:,} are read; give each series a folder of its own")
    if outside := [path for path in paths if leads_outside(path, folder)]:
        raise InputError(f"{outside[0]}: is a link that leads outside {folder}; put a copy in its place")
    return paths


def _all_slices(folder: Path, paths: Sequence[Path]) -> list[Slice]:
    slices: list[Slice] = []
    for path in paths:
        slices += read_slices(path)
        if len(slices) > MOST_SLICES:
            raise InputError(f"{folder}: holds more than {MOST_SLICES:,} slices; give each series a folder of its own")
    return slices


def _ending(path: Path) -> str:
    """Suffix of a file name in lower case; "" for a numeric suffix, as in names that are UIDs."""
    return path.suffix.lower() if path.suffix[1:2].isalpha() else ""


def _one_series(folder: Path, slices: Sequence[Slice], number: int | None) -> list[Slice]:
    """The slices of the series with this number, or of the only series. Messages show only numbers, since descriptions are free text."""
    by_uid: dict[str, list[Slice]] = {}
    for plane in slices:
        by_uid.setdefault(plane.series, []).append(plane)
    series = sorted(by_uid.values(), key=lambda stack: (stack[0].number is None, stack[0].number or 0, stack[0].path))
    taken = [stack for stack in series if number is None or stack[0].number == number]
    if len(taken) == 1:
        return taken[0]
    listed = ", ".join(
        f"{'without a number' if stack[0].number is None else stack[0].number} "
        f"({len(stack)} slices of {stack[0].shape[0]} x {stack[0].shape[1]})"
        for stack in series[:SERIES_SHOWN]
    )
    more = f" and {len(series) - SERIES_SHOWN} more" if len(series) > SERIES_SHOWN else ""
    cure = "take one with --series NUMBER, or give each a folder of its own"
    if not taken:
        raise InputError(f"{folder}: holds no series {number}, but {listed}{more}; {cure}")
    raise InputError(f"{folder}: holds {len(series)} series, {listed}{more}; {cure}")


def _in_order(folder: Path, slices: Sequence[Slice]) -> list[Slice]:
    """Sort slices along the normal of their plane.

    Raises:
        InputError: slices differ in size, type, direction or voxel size; one is missing, or two have the same position.
    """
    if len(slices) < 2:
        raise InputError(f"{folder}: holds one slice, which is no volume; bring the others")
    first = slices[0]
    grids = [np.array([*plane.rows_mm, *plane.columns_mm]) for plane in slices]
    for plane, grid in zip(slices, grids, strict=True):
        if plane.shape != first.shape or plane.dtype != first.dtype or plane.used_bits != first.used_bits:
            raise InputError(f"{plane.path}: is of another size or type than {first.path.name} of the same series; export the series again")
        if np.abs(grid - grids[0]).max() > 1e-4:
            raise InputError(f"{plane.path}: lies in another plane than {first.path.name} of the same series; {DCM2NIIX}")
    normal = np.cross(first.rows_mm, first.columns_mm)
    if not normal.any():
        raise InputError(f"{folder}: its axes are not at right angles; {DCM2NIIX}")
    normal /= np.linalg.norm(normal)
    # the order along the normal, and the gaps: none may be zero, and all must be equal
    heights = np.array([float(np.dot(plane.position_mm, normal)) for plane in slices])
    order = np.argsort(heights, kind="stable")
    gaps = np.diff(heights[order])
    tolerance = max(GAP_TOLERANCE_MM, GAP_TOLERANCE * float(np.median(gaps)))
    if gaps.min() <= GAP_TOLERANCE_MM:
        raise InputError(f"{folder}: two slices of one series lie at one place, as of several echoes or times; export one volume a series")
    if gaps.max() - gaps.min() > tolerance:
        raise InputError(f"{folder}: gaps between slices are {gaps.min():.3f} to {gaps.max():.3f} mm, so some are missing; bring all")
    return [slices[int(place)] for place in order]


def _refuse_size(folder: Path, shape: tuple[int, int, int], slices: Sequence[Slice]) -> None:
    voxels = shape[0] * shape[1] * shape[2]
    if voxels > MOST_VOXELS:
        raise InputError(f"{folder}: {shape} voxels, {MOST_VOXELS:,} are read; cut the scan")
    refuse_memory(folder, shape, voxels * slices[0].dtype.itemsize)


def _voxels(slices: Sequence[Slice], shape: tuple[int, int, int], dtype: np.dtype[Any], scaled: bool) -> tuple[NDArray[Any], str]:
    array = np.empty((shape[2], shape[0] * shape[1]), dtype)
    files: dict[Path, list[int]] = {}  # file -> positions of its slices in the volume
    for place, plane in enumerate(slices):
        files.setdefault(plane.path, []).append(place)
    for places in files.values():
        for place, voxels in zip(places, read_voxels([slices[place] for place in places]), strict=True):
            slope, intercept = slices[place].scaling
            array[place] = voxels * slope + intercept if scaled else voxels
    digests = "".join(slices[places[0]].sha256 for places in files.values())
    return array.ravel(), hashlib.sha256(digests.encode()).hexdigest()
