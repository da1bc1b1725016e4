"""Read and write NIfTI files: arrays are in canonical orientation (RAS+), written masks in the scan's orientation.

No text field of a header (description, patient's name, intent) is ever read, shown or copied, and no header extension: converters put
whole DICOM headers there.
"""

from __future__ import annotations

import gzip
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import DTypeLike, NDArray

from angiosynth.arrays import Affine, Mask, SpacingMm
from angiosynth.data.formats import not_readable
from angiosynth.data.geometry import Grid, GridSource, grid_of
from angiosynth.data.nifti_header import GEOMETRY_FIELDS, HEADER_BYTES, read_header, scaling, stored_shape
from angiosynth.data.values import value_runs
from angiosynth.errors import InputError
from angiosynth.runtime.machine import memory_available
from angiosynth.runtime.output import whole_file
from angiosynth.runtime.unpacking import MOST_RATIO, Unpacking

nib: Any = nibabel  # most of its functions have no types

MOST_VOXELS = 2**28  # 1024 x 1024 x 256, seven times the paper's scans; a GB as 32-bit numbers
MOST_OFFSET = 2**24  # bytes of header extensions, where converters put whole DICOM headers
TRAILING = 2**16  # bytes behind the voxels that are ignored: some programs fill up the last block


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
    """A volume with facts of its file: grid and shape (i, j, k) of the stored voxels, and the SHA-256 of its bytes."""

    volume: Volume
    grid: Grid
    stored_shape: tuple[int, int, int]
    sha256: str

    @property
    def orientation(self) -> str:
        """The directions of the stored axes, such as "LPS"."""
        return self.grid.orientation


@dataclass(frozen=True)
class StoredVolume:
    """A file's voxels as stored: (i, j, k) in the file's axis order, unscaled, with nibabel's header and the SHA-256 of the file."""

    array: NDArray[Any]
    header: Any
    sha256: str


def read_volume(path: Path, dtype: DTypeLike = np.float32) -> Volume:
    """Read a volume and bring it to canonical RAS+ order; a last axis of length 1 is dropped.

    Args:
        path: .nii or .nii.gz.
        dtype: of the array; the header's slope and intercept are applied.

    Raises:
        InputError: the file is missing, damaged or cut short, has not three axes, holds NaN or infinity,
            or its voxel size or affine is unusable.
    """
    return load_volume(path, dtype).volume


def load_volume(path: Path, dtype: DTypeLike = np.float32, *, grid: Grid | None = None, prefer: GridSource | None = None) -> LoadedVolume:
    """Read a volume as `read_volume`, with the grid and the digest from the same single read of the file.

    Args:
        path: the file.
        dtype: of the array.
        grid: the grid of the stored voxels, in place of the header's.
        prefer: the description to use where the header contradicts itself, see `grid_of`.

    Raises:
        InputError: as `read_volume`.
    """
    stored = open_stored(path)
    grid = grid or grid_of(stored.header, path, prefer)
    orientation = nib.orientations.io_orientation(grid.affine)
    array = _scaled(nib.orientations.apply_orientation(stored.array, orientation), stored.header, np.dtype(dtype), path)
    turned: Affine = grid.affine @ nib.orientations.inv_ornt_aff(orientation, stored.array.shape)
    spacing = np.sqrt((turned[:3, :3] ** 2).sum(axis=0))
    volume = Volume(array, turned, (float(spacing[0]), float(spacing[1]), float(spacing[2])))
    i, j, k = stored.array.shape
    return LoadedVolume(volume, grid, (i, j, k), stored.sha256)


def open_stored(path: Path) -> StoredVolume:
    """Read a file's header and its voxels as they are stored.

    Raises:
        InputError: as `read_volume`, except for faults of the geometry.
    """
    with _opened(path) as source:
        header = read_header(beginning := source.read(HEADER_BYTES), path)
        array = _stored_array(source, beginning, header)
        return StoredVolume(array.reshape(stored_shape(header, path), order="F"), header, source.sha256())


def canonical_shape(path: Path) -> tuple[int, int, int]:
    """The shape (x, y, z) of the volume that `read_volume` returns, from the header alone.

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
        path: a file whose values, of any number type, are 0 and one whole number, such as 1 or 255.

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
    """Write a canonical mask as 8-bit NIfTI on the reference scan's grid.

    Shape, axis order, affine, its codes and units are copied from the reference; all other fields of the header have their defaults.

    Args:
        mask: (x, y, z) in canonical order, of the shape of `read_volume(reference)`.
        reference: the scan that the mask belongs to.
        target: .nii, or .nii.gz for a compressed file. The same mask always gives the same bytes.

    Raises:
        InputError: the reference is unusable or has another shape than the mask; the target cannot be written.
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
        # No file name and no time in the gzip header: equal masks are equal files.
        temporary.write_bytes(gzip.compress(data, 6, mtime=0) if target.name.endswith(".gz") else data)


def _opened(path: Path) -> Unpacking:
    try:
        return Unpacking(path)
    except OSError as error:
        raise InputError(f"{path}: {not_readable(path, error)}") from error


def _header_of(path: Path) -> Any:
    with _opened(path) as source:
        return read_header(source.read(HEADER_BYTES), path)


def _stored_array(source: Unpacking, beginning: bytes, header: Any) -> NDArray[Any]:
    """The stored numbers, flat (n,); InputError where the file has fewer than its header declares, or many more bytes."""
    path, kind = source.path, header.get_data_dtype()
    if kind.kind not in "iuf":
        raise InputError(f"{path}: voxels are of type {kind}, plain numbers are needed; convert to grey values")
    shape = stored_shape(header, path)
    offset, voxels = int(header.get_data_offset()), math.prod(shape)
    end = offset + voxels * kind.itemsize
    _refuse_size(source, shape, offset, end)
    source.most_on_disk = end + end // 8 + 2 * TRAILING  # incompressible data grow a little when compressed
    array = np.empty(voxels, kind)
    flat, first = array.view(np.uint8), np.frombuffer(beginning[offset:], np.uint8)[: end - offset]
    flat[: len(first)] = first
    existing = len(beginning) + source.skip(offset - len(beginning)) + source.fill(flat[len(first) :])
    if existing < end:
        raise InputError(f"{path}: is cut short, {existing} bytes instead of {end}; copy it again")
    if source.skip(TRAILING + 1) > TRAILING:
        raise InputError(f"{path}: holds more than the {end} bytes that its header declares; convert the scan again")
    return array


def _refuse_size(source: Unpacking, shape: tuple[int, int, int], offset: int, end: int) -> None:
    """Raise InputError, before any voxel is read, for a size that the file cannot hold, no scan of a head has, or the memory cannot."""
    path, voxels = source.path, math.prod(shape)
    if offset < 0 or end > source.size * (MOST_RATIO if source.packed else 1):
        raise InputError(f"{path}: is cut short, {source.size} bytes{' packed' * source.packed} instead of {end}; copy it again")
    if voxels > MOST_VOXELS or offset > MOST_OFFSET:
        raise InputError(f"{path}: {shape} voxels behind {offset:,} bytes; {MOST_VOXELS:,} behind {MOST_OFFSET:,} are read, cut the scan")
    free, needed = memory_available(), end + voxels * np.dtype(np.float32).itemsize
    if free and needed > free:
        raise InputError(f"{path}: takes {needed / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB are free; close other programs")


def _scaled(stored: NDArray[Any], header: Any, dtype: np.dtype[Any], path: Path) -> NDArray[Any]:
    """Apply the header's slope and intercept. Slice by slice, so that no second copy of the volume is made."""
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
