"""Common representation of a file's header for all readers, and helpers to parse headers.

Headers are untrusted. They are read up to a limit, only the fields for type, shape, grid and location of the voxels are parsed, and the
declared size is compared with the file before memory is allocated.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from angiosynth.data.folders import leads_outside
from angiosynth.data.geometry import SHEAR_TOLERANCE
from angiosynth.data.stored import opened, stored_array
from angiosynth.errors import InputError
from angiosynth.reading import resolved
from angiosynth.runtime.unpacking import Packing

nib: Any = nibabel

MOST_HEADER = 1 << 16  # bytes of a text header; ITK writes half a kilobyte, 3D Slicer about ten for segmentations
MOST_FIELDS = 2000
LONGEST_AXIS = 2**15 - 1  # voxels; the limit of NIfTI-1 headers
NUMBER = re.compile(r"[-+]?(\d{1,30}(\.\d{0,40})?|\.\d{1,40})([eE][-+]?\d{1,3})?")
# Converts axes of DICOM and ITK (left, posterior, superior) to those of NIfTI (right, anterior, superior).
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])


@dataclass(frozen=True)
class Described:
    """Header of a volume, in nibabel's form, and the function that reads its voxels.

    `read` returns the stored numbers as a flat array (n,), first axis fastest, and the SHA-256 of the files.
    """

    header: Any
    read: Callable[[], tuple[NDArray[Any], str]]


@dataclass(frozen=True)
class RawVoxels:
    """Location of voxels that are stored as plain numbers.

    Attributes:
        path: the file.
        dtype: data type including byte order.
        start: bytes of an uncompressed header in the same file.
        packing: compression of the bytes after the header.
        offset: unpacked bytes before the first voxel; None if the voxels are at the end of an uncompressed file.
        header: bytes of a header in another file.
    """

    path: Path
    dtype: np.dtype[Any]
    start: int = 0
    packing: Packing = "none"
    offset: int | None = 0
    header: bytes = b""

    def read(self, shape: tuple[int, int, int]) -> tuple[NDArray[Any], str]:
        """Read the numbers as a flat little-endian array (n,), and the digest of header and data.

        Raises:
            InputError: the file is missing, truncated, damaged, or larger than declared.
        """
        with opened(self.path, start=self.start, packing=self.packing) as source:
            offset = self.offset if self.offset is not None else source.size - math.prod(shape) * self.dtype.itemsize
            array = stored_array(source, shape, self.dtype, offset)
            digest = source.sha256()
        if self.header:
            digest = hashlib.sha256(self.header + bytes.fromhex(digest)).hexdigest()
        return little_endian(array), digest


def little_endian(array: NDArray[Any]) -> NDArray[Any]:
    """Convert an array to little-endian byte order, in place."""
    little = array.dtype.newbyteorder("<")
    return array if array.dtype == little else array.byteswap(inplace=True).view(little)


def text_beginning(path: Path) -> bytes:
    """Read the first MOST_HEADER bytes of a file, which must include the whole text header.

    Raises:
        InputError: the file cannot be read, or is empty.
    """
    with opened(path, packing="none") as source:
        beginning = source.read(MOST_HEADER)
    if not beginning:
        raise InputError(f"{path}: is empty, 0 bytes; copy or download it again")
    return beginning


def companion(header: Path, name: str) -> Path:
    """Return the path of the data file that a header names. It must lie in the header's folder or below it.

    Raises:
        InputError: the name or a link leads outside the folder, or to the header.
    """
    bare = name.strip()
    pure = (PurePosixPath(bare), PureWindowsPath(bare))
    candidate = header.parent / bare
    outside = not bare or "\0" in bare or any(form.is_absolute() or form.drive or ".." in form.parts for form in pure)
    if outside or leads_outside(candidate, header.parent):
        raise InputError(f"{header}: names a data file outside its folder, {bare!r}; put it beside the header and name it there")
    if resolved(candidate) == resolved(header):
        raise InputError(f"{header}: names itself as its data file; write it anew")
    return candidate


def real_numbers(text: str, count: int | None, path: Path, field: str) -> list[float]:
    """Parse finite numbers separated by spaces, exactly `count` of them unless it is None.

    Raises:
        InputError: the text has another form.
    """
    tokens = text.split()
    numbers = [float(token) for token in tokens if NUMBER.fullmatch(token)]
    if len(numbers) != len(tokens) or not numbers or (count is not None and len(numbers) != count) or not all(map(math.isfinite, numbers)):
        wanted = "numbers" if count is None else f"{count} numbers"
        raise InputError(f"{path}: {field} is {text[:60]!r}, {wanted} are needed; convert the scan again")
    return numbers


def whole_numbers(text: str, count: int | None, path: Path, field: str) -> list[int]:
    """Parse integers separated by spaces; see `real_numbers`."""
    numbers = real_numbers(text, count, path, field)
    if any(not number.is_integer() for number in numbers):
        raise InputError(f"{path}: {field} is {text[:60]!r}, whole numbers are needed; convert the scan again")
    return [int(number) for number in numbers]


def three_axes(lengths: Sequence[int], path: Path) -> tuple[int, int, int]:
    """Return the shape (i, j, k) of a volume; trailing axes of length 1 are dropped.

    Raises:
        InputError: there are not three axes, or an axis is empty or longer than NIfTI supports.
    """
    shape = tuple(lengths)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3:
        raise InputError(f"{path}: has {len(shape)} axes {shape}, three are needed; give one 3D volume a file")
    if min(shape) < 1 or max(shape) > LONGEST_AXIS:
        raise InputError(f"{path}: has the shape {shape}, axes of 1 to {LONGEST_AXIS} voxels are read; convert the scan again")
    return shape[0], shape[1], shape[2]


def nifti_header(path: Path, shape: tuple[int, int, int], dtype: np.dtype[Any], steps: NDArray[Any], origin: NDArray[Any]) -> Any:
    """Build a NIfTI-1 header whose sform and qform describe a grid.

    Args:
        path: the file, for messages.
        shape: (i, j, k).
        dtype: data type of the voxels, any byte order.
        steps: (3, 3), column a is the vector from a voxel to the next along axis a, in mm (right, anterior, superior).
        origin: (3,) centre of the first voxel, in the same coordinates.

    Raises:
        InputError: the steps are not finite, have length 0, or are not orthogonal.
    """
    lengths = np.linalg.norm(steps, axis=0)
    if not (np.isfinite(steps).all() and np.isfinite(origin).all() and (lengths > 0).all()):
        raise InputError(f"{path}: voxel size {lengths.tolist()} or position is zero or not a number; mend the header")
    directions = steps / lengths
    if np.abs(directions.T @ directions - np.eye(3)).max() > SHEAR_TOLERANCE:
        raise InputError(f"{path}: its axes are not at right angles; resample the scan to an upright grid")
    header = nib.Nifti1Header(endianness="<")
    header.set_data_dtype(dtype.newbyteorder("<"))
    header.set_data_shape(shape)
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = steps, origin
    header.set_qform(affine, code=1)
    header.set_sform(affine, code=1)
    header.set_xyzt_units("mm")
    return header
