"""Read volumes and write NIfTI masks. Arrays are in canonical orientation (RAS+), written masks in the orientation of their scan.

Text fields of headers (description, patient name, intent) and header extensions are never read, shown or copied: converters store whole
DICOM headers in them.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import DTypeLike, NDArray

from angiosynth.arrays import Affine, Mask, SpacingMm
from angiosynth.data.geometry import Grid, GridSource, grid_of
from angiosynth.data.nifti_header import GEOMETRY_FIELDS, HEADER_BYTES, read_header, scaling, stored_shape
from angiosynth.data.readers.registry import described
from angiosynth.data.stored import StoredVolume, opened, stored_array
from angiosynth.data.values import value_runs
from angiosynth.errors import InputError
from angiosynth.runtime.output import whole_file

nib: Any = nibabel  # most of its functions have no types


@dataclass(frozen=True)
class Volume:
    """A volume in canonical RAS+ order.

    Attributes:
        array: (x, y, z), axial slices contiguous in memory (Fortran order).
        affine: (4, 4) from voxel index to mm.
        spacing_mm: voxel size along x, y, z.
    """

    array: NDArray[Any]
    affine: Affine
    spacing_mm: SpacingMm


@dataclass(frozen=True)
class LoadedVolume:
    """A volume with grid and shape (i, j, k) of the stored voxels, and the SHA-256 of its file."""

    volume: Volume
    grid: Grid
    stored_shape: tuple[int, int, int]
    sha256: str

    @property
    def orientation(self) -> str:
        """Directions of the stored axes, such as "LPS"."""
        return self.grid.orientation


def read_volume(path: Path, dtype: DTypeLike = np.float32) -> Volume:
    """Read a volume and reorient it to canonical RAS+ order. A last axis of length 1 is dropped.

    Args:
        path: .nii, .nii.gz, or a format of `data.readers`.
        dtype: data type of the array; slope and intercept of the header are applied.

    Raises:
        InputError: the file is missing, damaged or truncated, does not have three axes, contains NaN or infinity, or its voxel size or
            affine is invalid.
    """
    return load_volume(path, dtype).volume


def load_volume(
    path: Path, dtype: DTypeLike = np.float32, *, grid: Grid | None = None, prefer: GridSource | None = None, series: int | None = None
) -> LoadedVolume:
    """Read a volume as `read_volume`, together with its grid and digest, reading the file only once.

    Args:
        path: the file.
        dtype: data type of the array.
        grid: grid of the stored voxels that replaces the header's.
        prefer: the description to use if the header contradicts itself, see `grid_of`.
        series: number of the series to read from a folder with several DICOM series.

    Raises:
        InputError: as `read_volume`.
    """
    stored = open_stored(path, series)
    grid = grid or grid_of(stored.header, path, prefer)
    orientation = nib.orientations.io_orientation(grid.affine)
    array = _scaled(nib.orientations.apply_orientation(stored.array, orientation), stored.header, np.dtype(dtype), path)
    turned: Affine = grid.affine @ nib.orientations.inv_ornt_aff(orientation, stored.array.shape)
    spacing = np.sqrt((turned[:3, :3] ** 2).sum(axis=0))
    volume = Volume(array, turned, (float(spacing[0]), float(spacing[1]), float(spacing[2])))
    i, j, k = stored.array.shape
    return LoadedVolume(volume, grid, (i, j, k), stored.sha256)


def open_stored(path: Path, series: int | None = None) -> StoredVolume:
    """Read header and voxels of a file without scaling or reorientation. `series` as in `load_volume`.

    Raises:
        InputError: as `read_volume`, except for faults of the geometry.
    """
    if other := described(path, series):
        array, sha256 = other.read()
        return StoredVolume(array.reshape(stored_shape(other.header, path), order="F"), other.header, sha256)
    with opened(path) as source:
        header = read_header(beginning := source.read(HEADER_BYTES), path)
        shape = stored_shape(header, path)
        array = stored_array(source, shape, header.get_data_dtype(), int(header.get_data_offset()), beginning)
        return StoredVolume(array.reshape(shape, order="F"), header, source.sha256())


def canonical_shape(path: Path) -> tuple[int, int, int]:
    """Return the shape (x, y, z) of the volume that `read_volume` would return, from the header alone.

    Raises:
        InputError: as `read_volume`, except for faults of the voxels.
    """
    header = _header_of(path)
    orientation, stored = nib.orientations.io_orientation(grid_of(header, path).affine), stored_shape(header, path)
    x, y, z = (stored[int(axis)] for axis in np.argsort(orientation[:, 0]))
    return x, y, z


def load_mask(path: Path) -> LoadedVolume:
    """Read a mask or label as a boolean volume.

    Args:
        path: a file with the values 0 and one other integer, such as 1 or 255, of any number type.

    Raises:
        InputError: as `read_volume`, or the mask is empty or has other values.
    """
    loaded = load_volume(path)
    values = loaded.volume.array
    mask = values != 0
    if not np.array_equal(mask * values.max(), values) or values.max() != np.rint(values.max()):
        raise InputError(f"{path}: holds {value_runs(np.unique(values))} instead of only 0 and 1, or 0 and 255; write it as a mask")
    if not mask.any():
        raise InputError(f"{path}: is empty, no voxel is set; draw it again or remove the file")
    volume = Volume(mask, loaded.volume.affine, loaded.volume.spacing_mm)
    return LoadedVolume(volume, loaded.grid, loaded.stored_shape, loaded.sha256)


def write_mask(mask: Mask, reference: Path, target: Path) -> None:
    """Write a canonical mask as 8-bit NIfTI on the grid of a reference scan.

    Shape, axis order, affines with their codes, and units are copied from the reference. All other header fields have default values.

    Args:
        mask: (x, y, z) in canonical order, with the shape of `read_volume(reference)`.
        reference: the scan to which the mask belongs.
        target: .nii, or .nii.gz for a compressed file. Equal masks give equal bytes.

    Raises:
        InputError: the reference is unusable or differs in shape from the mask, or the target cannot be written.
    """
    source = _header_of(reference)
    affine = grid_of(source, reference).affine
    canonical = nib.orientations.axcodes2ornt(("R", "A", "S"))
    to_stored = nib.orientations.ornt_transform(canonical, nib.orientations.io_orientation(affine))
    array = nib.orientations.apply_orientation(np.asarray(mask, np.uint8), to_stored)
    if array.shape != stored_shape(source, reference):
        raise InputError(f"{reference}: shape {stored_shape(source, reference)} is not the mask's {array.shape}; predict this scan again")
    is_nifti2 = isinstance(source, nib.Nifti2Header)
    header = nib.Nifti2Header() if is_nifti2 else nib.Nifti1Header()
    header.set_data_dtype(np.uint8)
    header.set_data_shape(source.get_data_shape())
    for field in GEOMETRY_FIELDS:
        header[field] = source[field]
    image_class = nib.Nifti2Image if is_nifti2 else nib.Nifti1Image
    data = image_class(array.reshape(source.get_data_shape(), order="F"), affine, header).to_bytes()
    with whole_file(target) as temporary:
        # No file name and no time stamp in the gzip header, so that equal masks give equal files.
        temporary.write_bytes(gzip.compress(data, 6, mtime=0) if target.name.endswith(".gz") else data)


def _header_of(path: Path) -> Any:
    if other := described(path):
        return other.header
    with opened(path) as source:
        return read_header(source.read(HEADER_BYTES), path)


def _scaled(stored: NDArray[Any], header: Any, dtype: np.dtype[Any], path: Path) -> NDArray[Any]:
    """Apply slope and intercept of the header, slice by slice to avoid a second copy of the volume."""
    slope, intercept = scaling(header, path)
    array = np.empty(stored.shape, dtype, order="F")
    for index in range(stored.shape[2]):
        plane = stored[:, :, index].astype(np.float64)
        if (slope, intercept) != (1.0, 0.0):
            plane = plane * slope + intercept
        with np.errstate(over="ignore", invalid="ignore"):
            array[:, :, index] = plane
        if not (np.isfinite(plane).all() and np.isfinite(array[:, :, index]).all()):
            raise InputError(f"{path}: holds NaN or infinite values; replace them, e.g. by 0")
    return array
