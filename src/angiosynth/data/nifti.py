"""NIfTI in and out: canonical orientation inside the project, the scan's own orientation in what leaves it.

Files are read by their numbers alone. No text field of a header (description, patient's name, intent) is ever
read, shown or copied, and no header extension: converters put whole DICOM headers there.
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
from angiosynth.data.formats import not_nifti, not_readable
from angiosynth.data.geometry import Grid, GridSource, grid_of
from angiosynth.data.values import value_runs
from angiosynth.errors import InputError
from angiosynth.runtime.machine import memory_available
from angiosynth.runtime.output import whole_file
from angiosynth.runtime.unpacking import MOST_RATIO, Unpacking

nib: Any = nibabel  # most of its functions have no types

MOST_VOXELS = 2**28  # 1024 x 1024 x 256, seven times the paper's scans; a GB as 32-bit numbers
MOST_OFFSET = 2**24  # bytes of header extensions, where converters put whole DICOM headers
TRAILING = 2**16  # bytes behind the voxels that do not matter: some programs fill up the last block
FORM_CODES = range(6)
HEADER_BYTES = 540  # NIfTI-2's; NIfTI-1 has 348
# Geometry is copied field by field, so that a mask's grid equals the scan's to the last bit.
GEOMETRY_FIELDS = (
    *("pixdim", "qform_code", "sform_code", "xyzt_units"),
    *("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
    *("srow_x", "srow_y", "srow_z"),
)


@dataclass(frozen=True)
class Volume:
    """A volume in canonical RAS+ order.

    array: (x, y, z), axial slices contiguous in memory. affine: (4, 4) of that array, voxel index -> mm.
    """

    array: NDArray[Any]
    affine: Affine
    spacing_mm: SpacingMm


@dataclass(frozen=True)
class LoadedVolume:
    """A volume with what its file tells: the grid and shape of the voxels as they are stored, and the SHA-256 of its bytes."""

    volume: Volume
    grid: Grid
    stored_shape: tuple[int, int, int]
    sha256: str

    @property
    def orientation(self) -> str:
        """Where the stored axes point to, such as "LPS"."""
        return self.grid.orientation


@dataclass(frozen=True)
class StoredVolume:
    """A file's voxels in the order in which they are stored, (i, j, k), unscaled, with its header."""

    array: NDArray[Any]
    header: Any
    sha256: str


def read_volume(path: Path, dtype: DTypeLike = np.float32) -> Volume:
    """Read a volume and bring it to canonical RAS+ order; a last axis of length 1 is dropped.

    Raises:
        InputError: the file is missing, damaged or cut short, has not three axes, holds NaN or infinity,
            or its voxel size or affine is unusable.
    """
    return load_volume(path, dtype).volume


def load_volume(path: Path, dtype: DTypeLike = np.float32, *, grid: Grid | None = None, prefer: GridSource | None = None) -> LoadedVolume:
    """As `read_volume`, with grid and digest from the same single read of the file.

    Args:
        path: the file.
        dtype: of the array.
        grid: the grid of the stored voxels, in place of the one that the header means.
        prefer: what to take where the header contradicts itself, see `grid_of`.
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
        InputError: as `read_volume`, geometry apart.
    """
    with _opened(path) as source:
        header = read_header(beginning := source.read(HEADER_BYTES), path)
        array = _stored_array(source, beginning, header)
        return StoredVolume(array.reshape(_shape(header, path), order="F"), header, source.sha256())


def canonical_shape(path: Path) -> tuple[int, int, int]:
    """The shape (x, y, z) that `read_volume` would give, by the header alone.

    Raises:
        InputError: as `read_volume`, voxels apart.
    """
    header = _header_of(path)
    orientation, stored = nib.orientations.io_orientation(grid_of(header, path).affine), _shape(header, path)
    x, y, z = (stored[int(axis)] for axis in np.argsort(orientation[:, 0]))
    return x, y, z


def load_mask(path: Path) -> LoadedVolume:
    """Read a mask or label as bool; any number type will do as long as the values are 0 and one whole number, such as 1 or 255.

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
    """Write a canonical mask as 8-bit NIfTI in the reference scan's own grid.

    Shape, axis order, affine, its codes and units are the reference's; everything else in the header is fresh.

    Args:
        mask: (x, y, z), canonical order, as `read_volume(reference)` has it.
        reference: the scan that the mask belongs to.
        target: .nii, or .nii.gz for a compressed file. The same mask always gives the same bytes.

    Raises:
        InputError: the reference is unusable or has another shape than the mask; the target cannot be written.
    """
    source = _header_of(reference)
    affine = grid_of(source, reference).affine
    canonical = nib.orientations.axcodes2ornt(("R", "A", "S"))
    back = nib.orientations.ornt_transform(canonical, nib.orientations.io_orientation(affine))
    array = nib.orientations.apply_orientation(np.asarray(mask, np.uint8), back)
    if array.shape != _shape(source, reference):
        raise InputError(f"{reference}: shape {_shape(source, reference)} is not the mask's {array.shape}; predict this scan again")
    two = isinstance(source, nib.Nifti2Header)
    header = nib.Nifti2Header() if two else nib.Nifti1Header()
    header.set_data_dtype(np.uint8)
    header.set_data_shape(source.get_data_shape())
    for field in GEOMETRY_FIELDS:
        header[field] = source[field]
    image_class = nib.Nifti2Image if two else nib.Nifti1Image
    data = image_class(array.reshape(source.get_data_shape(), order="F"), affine, header).to_bytes()
    with whole_file(target) as temporary:
        # No file name and no time go into the gzip header: they would change the bytes at every run.
        temporary.write_bytes(gzip.compress(data, 6, mtime=0) if target.name.endswith(".gz") else data)


def read_header(data: bytes, path: Path) -> Any:
    """nibabel's header of a file's first bytes, 540 of them at least; extensions behind it are left alone.

    Raises:
        InputError: they are no NIfTI header, or a damaged one.
    """
    if data[344:348] == b"n+1\0":
        kind, length = nib.Nifti1Header, 348
    elif data[4:8] == b"n+2\0":
        kind, length = nib.Nifti2Header, 540
    else:
        raise InputError(f"{path}: {not_nifti(data)}")
    try:
        # Unchecked first: nibabel's check would silently turn a voxel size of 0 into 1, and codes that it does not know into 0.
        unchecked = kind(data[:length], check=False)
        codes = {name: int(unchecked[name]) for name in ("sform_code", "qform_code")}
        qfac, *lengths = np.asarray(unchecked["pixdim"][:4], np.float64).tolist()
        pixdim = np.asarray(lengths)
        header = kind(data[:length])
        unit = header.get_xyzt_units()[0]
        header.get_data_dtype(), header.get_data_offset()
    except Exception as error:  # nibabel raises many kinds for a damaged header
        raise InputError(f"{path}: damaged NIfTI header; convert the scan again") from error
    if not (np.isfinite(pixdim).all() and (pixdim != 0).all()):
        raise InputError(f"{path}: voxel size {pixdim.tolist()} is zero or not a number; mend the header's pixdim")
    for name, code in codes.items():
        if code not in FORM_CODES:
            raise InputError(f"{path}: the header's {name} is {code}, no code of NIfTI's; write 1 where that affine is the scanner's")
    if codes["qform_code"] and qfac not in (-1.0, 0.0, 1.0):
        raise InputError(f"{path}: the header's qfac, pixdim[0], is {qfac:g}, so left and right are open; mend it: 1 or -1")
    if unit not in ("mm", "unknown"):
        raise InputError(f"{path}: lengths are in {unit}; write the header in mm")
    return header


def scaling(header: Any, path: Path) -> tuple[float, float]:
    """Slope and intercept by which stored numbers become values; (1, 0) where the header has none.

    Raises:
        InputError: the intercept is not a number.
    """
    try:
        slope, intercept = header.get_slope_inter()
    except nib.spatialimages.HeaderDataError as error:
        raise InputError(f"{path}: the header's intercept, scl_inter, is not a number; write the right one, or 0") from error
    return 1.0 if slope is None else float(slope), 0.0 if intercept is None else float(intercept)


def _opened(path: Path) -> Unpacking:
    try:
        return Unpacking(path)
    except OSError as error:
        raise InputError(f"{path}: {not_readable(path, error)}") from error


def _header_of(path: Path) -> Any:
    with _opened(path) as source:
        return read_header(source.read(HEADER_BYTES), path)


def _shape(header: Any, path: Path) -> tuple[int, int, int]:
    """The three spatial lengths, further axes of length 1 left out."""
    shape = tuple(int(length) for length in header.get_data_shape())
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3:
        raise InputError(f"{path}: has {len(shape)} axes {shape}, three are needed; give one 3D volume a file")
    if min(shape) < 1:
        raise InputError(f"{path}: has no voxels, shape {shape}; convert the scan again")
    return shape[0], shape[1], shape[2]


def _stored_array(source: Unpacking, beginning: bytes, header: Any) -> NDArray[Any]:
    """The numbers as stored, flat: so many as the header declares, and nothing behind them."""
    path, kind = source.path, header.get_data_dtype()
    if kind.kind not in "iuf":
        raise InputError(f"{path}: voxels are of type {kind}, plain numbers are needed; convert to grey values")
    shape = _shape(header, path)
    offset, voxels = int(header.get_data_offset()), math.prod(shape)
    end = offset + voxels * kind.itemsize
    _refuse_size(source, shape, offset, end)
    source.most_on_disk = end + end // 8 + 2 * TRAILING  # what does not get smaller by packing gets a little longer
    array = np.empty(voxels, kind)
    flat, first = array.view(np.uint8), np.frombuffer(beginning[offset:], np.uint8)[: end - offset]
    flat[: len(first)] = first
    there = len(beginning) + source.skip(offset - len(beginning)) + source.fill(flat[len(first) :])
    if there < end:
        raise InputError(f"{path}: is cut short, {there} bytes instead of {end}; copy it again")
    if source.skip(TRAILING + 1) > TRAILING:
        raise InputError(f"{path}: holds more than the {end} bytes that its header declares; convert the scan again")
    return array


def _refuse_size(source: Unpacking, shape: tuple[int, int, int], offset: int, end: int) -> None:
    """Refuse, before anything is read, what the file cannot hold and what is no head's scan: InputError."""
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
