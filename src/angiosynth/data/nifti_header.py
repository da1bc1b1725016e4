"""Read and check the numeric fields of a NIfTI header."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from angiosynth.data.formats import not_nifti
from angiosynth.errors import InputError

nib: Any = nibabel  # most of its functions have no types

FORM_CODES = range(6)
HEADER_BYTES = 540  # length of a NIfTI-2 header; NIfTI-1 has 348
# Geometry is copied field by field, so that the grid of a mask equals that of the scan to the last bit.
GEOMETRY_FIELDS = (
    *("pixdim", "qform_code", "sform_code", "xyzt_units"),
    *("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
    *("srow_x", "srow_y", "srow_z"),
)


def read_header(data: bytes, path: Path, *, pair: bool = False) -> Any:
    """Read and check the header of a NIfTI-1 or NIfTI-2.

    Args:
        data: the first bytes of the file, at least `HEADER_BYTES`; header extensions are ignored.
        path: the file, for messages.
        pair: whether this is the header of a pair, .hdr and .img, instead of a single file.

    Returns:
        A Nifti1Header or Nifti2Header of nibabel.

    Raises:
        InputError: the bytes are not a NIfTI header, or voxel sizes, codes, qfac or unit are invalid.
    """
    if data[344:348] == (b"ni1\0" if pair else b"n+1\0"):
        kind, length = (nib.nifti1.Nifti1PairHeader if pair else nib.Nifti1Header), 348
    elif data[4:8] == (b"ni2\0" if pair else b"n+2\0"):
        kind, length = (nib.nifti2.Nifti2PairHeader if pair else nib.Nifti2Header), 540
    else:
        raise InputError(f"{path}: {not_nifti(data)}")
    try:
        # First read without nibabel's check, which silently replaces a voxel size of 0 by 1 and unknown codes by 0.
        unchecked = kind(data[:length], check=False)
        codes = {name: int(unchecked[name]) for name in ("sform_code", "qform_code")}
        qfac, *lengths = np.asarray(unchecked["pixdim"][:4], np.float64).tolist()
        pixdim = np.asarray(lengths)
        header = kind(data[:length])
        unit = header.get_xyzt_units()[0]
        header.get_data_dtype(), header.get_data_offset()
    except Exception as error:  # nibabel raises various exceptions for a damaged header
        raise InputError(f"{path}: damaged NIfTI header; convert the scan again") from error
    if not (np.isfinite(pixdim).all() and (pixdim != 0).all()):
        raise InputError(f"{path}: voxel size {pixdim.tolist()} is zero or not a number; mend the header's pixdim")
    for name, code in codes.items():
        if code not in FORM_CODES:
            raise InputError(f"{path}: the header's {name} is {code}, no code of NIfTI; write 1 if that affine is the scanner's")
    if codes["qform_code"] and qfac not in (-1.0, 0.0, 1.0):
        raise InputError(f"{path}: the header's qfac, pixdim[0], is {qfac:g}, so left and right are open; mend it: 1 or -1")
    if unit not in ("mm", "unknown"):
        raise InputError(f"{path}: lengths are in {unit}; write the header in mm")
    return header


def scaling(header: Any, path: Path) -> tuple[float, float]:
    """Slope and intercept of a header: value = slope * stored number + intercept; (1, 0) if the header has none.

    Args:
        header: header of nibabel.
        path: the file, for messages.

    Raises:
        InputError: the intercept is not a number.
    """
    try:
        slope, intercept = header.get_slope_inter()
    except nib.spatialimages.HeaderDataError as error:
        raise InputError(f"{path}: the header's intercept, scl_inter, is not a number; write the right one, or 0") from error
    return 1.0 if slope is None else float(slope), 0.0 if intercept is None else float(intercept)


def stored_shape(header: Any, path: Path) -> tuple[int, int, int]:
    """Return the shape (i, j, k) of the stored voxels; trailing axes of length 1 are dropped.

    Raises:
        InputError: the header does not have three axes, or an axis has length 0.
    """
    shape = tuple(int(length) for length in header.get_data_shape())
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3:
        raise InputError(f"{path}: has {len(shape)} axes {shape}, three are needed; give one 3D volume a file")
    if min(shape) < 1:
        raise InputError(f"{path}: has no voxels, shape {shape}; convert the scan again")
    return shape[0], shape[1], shape[2]
