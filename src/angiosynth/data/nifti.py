"""NIfTI in and out: canonical orientation inside the project, the scan's own orientation in what leaves it.

Files are read by their numbers alone. No text field of a header (description, patient's name, intent) is ever
read, shown or copied.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import DTypeLike, NDArray

from angiosynth.arrays import Affine, Mask, SpacingMm
from angiosynth.errors import InputError
from angiosynth.runtime.output import whole_file

nib: Any = nibabel  # most of its functions have no types

GZIP_MAGIC = b"\x1f\x8b"
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
    """A volume with what its file tells: its own orientation (such as "LPS") and the SHA-256 of its bytes."""

    volume: Volume
    orientation: str
    sha256: str


def read_volume(path: Path, dtype: DTypeLike = np.float32) -> Volume:
    """Read a volume and bring it to canonical RAS+ order; a last axis of length 1 is dropped.

    Raises:
        InputError: the file is missing, damaged or cut short, has not three axes, holds NaN or infinity,
            or its voxel size or affine is unusable.
    """
    return load_volume(path, dtype).volume


def load_volume(path: Path, dtype: DTypeLike = np.float32) -> LoadedVolume:
    """As `read_volume`, with orientation and digest from the same single read of the file."""
    raw = _read_bytes(path)
    data = _inflate(raw, path)
    header, affine = _geometry(data, path)
    orientation = nib.orientations.io_orientation(affine)
    stored = _stored_array(data, header, path).reshape(_shape(header, path), order="F")
    canonical = nib.orientations.apply_orientation(stored, orientation)
    array = _scaled(canonical, header, np.dtype(dtype), path)
    turned: Affine = affine @ nib.orientations.inv_ornt_aff(orientation, stored.shape)
    spacing = np.sqrt((turned[:3, :3] ** 2).sum(axis=0))
    volume = Volume(array, turned, (float(spacing[0]), float(spacing[1]), float(spacing[2])))
    return LoadedVolume(volume, "".join(nib.aff2axcodes(affine)), hashlib.sha256(raw).hexdigest())


def load_mask(path: Path) -> LoadedVolume:
    """Read a mask or label as bool; any number type will do as long as the values are exactly 0 and 1.

    Raises:
        InputError: as `read_volume`, or the mask is empty or has other values.
    """
    loaded = load_volume(path)
    values = loaded.volume.array
    mask = values != 0
    if not np.array_equal(mask, values):
        raise InputError(
            f"{path}: values from {values.min():g} to {values.max():g} instead of only 0 and 1; write one structure as a mask of 0 and 1"
        )
    if not mask.any():
        raise InputError(f"{path}: is empty, no voxel is set; draw it again or remove the file")
    volume = Volume(mask, loaded.volume.affine, loaded.volume.spacing_mm)
    return LoadedVolume(volume, loaded.orientation, loaded.sha256)


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
    source, affine = _geometry(_read_header(reference), reference)
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


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); put the file there or remove what names it") from error


def _inflate(raw: bytes, path: Path) -> bytes:
    if not raw.startswith(GZIP_MAGIC):
        return raw
    try:
        return gzip.decompress(raw)
    except (EOFError, OSError, zlib.error) as error:
        raise InputError(f"{path}: compressed file is cut short or damaged; copy it again") from error


def _read_header(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            packed = stream.read(2) == GZIP_MAGIC
            stream.seek(0)
            return gzip.GzipFile(fileobj=stream).read(HEADER_BYTES) if packed else stream.read(HEADER_BYTES)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path}: compressed file is cut short or damaged; copy it again") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); put the file there or remove what names it") from error


def _geometry(data: bytes, path: Path) -> tuple[Any, Affine]:
    """Header and affine of a NIfTI file's first bytes."""
    if data[344:348] == b"n+1\0":
        kind = nib.Nifti1Header
    elif data[4:8] == b"n+2\0":
        kind = nib.Nifti2Header
    else:
        raise InputError(f"{path}: not a NIfTI file (wrong magic bytes); convert it to .nii or .nii.gz")
    try:
        # Unchecked first: nibabel's check would silently turn a voxel size of 0 into 1.
        unchecked = kind.from_fileobj(io.BytesIO(data), check=False)
        pixdim = np.asarray(unchecked["pixdim"][1:4], np.float64)
        header = kind.from_fileobj(io.BytesIO(data))
        affine: Affine = np.asarray(header.get_best_affine(), np.float64)
        unit = header.get_xyzt_units()[0]
        header.get_data_dtype(), header.get_data_offset()
    except Exception as error:  # nibabel raises many kinds for a damaged header
        raise InputError(f"{path}: damaged NIfTI header; convert the scan again") from error
    if not (np.isfinite(pixdim).all() and (pixdim != 0).all()):
        raise InputError(f"{path}: voxel size {pixdim.tolist()} is zero or not a number; mend the header's pixdim")
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9 or None in nib.aff2axcodes(affine):
        raise InputError(f"{path}: the affine is singular or not a number; mend the header's sform and qform")
    if unit not in ("mm", "unknown"):
        raise InputError(f"{path}: lengths are in {unit}; write the header in mm")
    return header, affine


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


def _stored_array(data: bytes, header: Any, path: Path) -> NDArray[Any]:
    """The numbers as stored, flat, without a copy."""
    kind = header.get_data_dtype()
    if kind.kind not in "iuf":
        raise InputError(f"{path}: voxels are of type {kind}, plain numbers are needed; convert to grey values")
    shape = _shape(header, path)
    offset, count = int(header.get_data_offset()), shape[0] * shape[1] * shape[2]
    if offset < 0 or offset + count * kind.itemsize > len(data):
        raise InputError(f"{path}: is cut short, {len(data)} bytes instead of {offset + count * kind.itemsize}; copy it again")
    return np.frombuffer(data, kind, count, offset)


def _scaled(stored: NDArray[Any], header: Any, dtype: np.dtype[Any], path: Path) -> NDArray[Any]:
    """Apply the header's slope and intercept. Slice by slice, so that no second copy of the volume is made."""
    slope, intercept = (
        neutral if value is None else float(value) for value, neutral in zip(header.get_slope_inter(), (1.0, 0.0), strict=True)
    )
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
