"""Pairs of .hdr and .img files: two-file NIfTI, and Analyze 7.5."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from angiosynth.data.folders import leads_outside
from angiosynth.data.nifti_header import HEADER_BYTES, read_header, stored_shape
from angiosynth.data.readers.described import Described, three_axes
from angiosynth.data.stored import opened, stored_array
from angiosynth.errors import InputError

nib: Any = nibabel

ANALYZE_BYTES = 348
ANALYZE_BEGINNINGS = (b"\x5c\x01\0\0", b"\0\0\x01\x5c")  # length of the header, in either byte order
PAIR = re.compile(r"\.(hdr|img)(\.gz)?$", re.IGNORECASE)


def describe_pair(path: Path) -> Described:
    """Read the header of a pair; `path` is either file.

    Raises:
        InputError: it is damaged, or the other file is missing or outside the folder.
    """
    header_path, image_path = _files(path)
    with opened(header_path) as source:
        beginning = source.read(HEADER_BYTES)
    analyze = beginning[:4] in ANALYZE_BEGINNINGS and len(beginning) >= ANALYZE_BYTES and beginning[344:347] not in (b"ni1", b"n+1")
    header = _analyze_header(beginning, header_path) if analyze else read_header(beginning, header_path, pair=True)
    shape, dtype, offset = stored_shape(header, header_path), header.get_data_dtype(), int(header.get_data_offset())

    def read() -> tuple[NDArray[Any], str]:
        with opened(image_path) as source:
            array = stored_array(source, shape, dtype, offset)
            return array, hashlib.sha256(beginning + bytes.fromhex(source.sha256())).hexdigest()

    return Described(header, read)


def _files(path: Path) -> tuple[Path, Path]:
    """Paths of header and image. They differ only in the suffix, which has the case and compression of the given file's."""
    ending = PAIR.search(path.name)
    assert ending is not None
    stem, packed = path.name[: ending.start()], ending[2] or ""
    pair = {kind: path.with_name(f"{stem}.{kind.upper() if ending[1].isupper() else kind}{packed}") for kind in ("hdr", "img")}
    for kind, file in pair.items():
        if not file.is_file():
            raise InputError(f"{path}: its other file {file.name} is not beside it; bring the .{kind} file")
        if leads_outside(file, path.parent):
            raise InputError(f"{file}: is a link that leads outside its folder; put a copy in its place")
    return pair["hdr"], pair["img"]


def _analyze_header(beginning: bytes, path: Path) -> Any:
    """Shape, type and voxel size of an Analyze 7.5 header as a NIfTI header without affines, and without magic, which `grid_of` checks."""
    try:
        old = nib.AnalyzeHeader(beginning[:ANALYZE_BYTES])
        shape, dtype, lengths = old.get_data_shape(), old.get_data_dtype(), np.asarray(old["pixdim"][1:4], np.float64)
        offset = int(old["vox_offset"])
    except Exception as error:  # nibabel raises various exceptions for a damaged header
        raise InputError(f"{path}: damaged Analyze header; convert the scan again") from error
    if not (np.isfinite(lengths).all() and (lengths > 0).all()):
        raise InputError(f"{path}: voxel size {lengths.tolist()} is zero or not a number; mend the header's pixdim")
    if dtype.kind not in "iuf":
        raise InputError(f"{path}: voxels are of type {dtype}, plain numbers are needed; convert to grey values")
    header = nib.Nifti1Header(endianness=old.endianness)
    header.set_data_dtype(dtype)
    header.set_data_shape(three_axes(shape, path))
    header["pixdim"][1:4] = lengths
    header["vox_offset"], header["magic"] = offset, b""
    return header
