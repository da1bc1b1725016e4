"""A volume before its voxels are read: what readers of all formats make of a file's header.

A header is text or numbers from outside. It is read up to a limit, only the fields that say type, shape, grid and place of the voxels are
looked at, and the declared size is compared with the file before memory is taken for it.
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

MOST_HEADER = 1 << 16  # bytes of a text header; ITK writes half a kilobyte, 3D Slicer's segmentations some ten
MOST_FIELDS = 2000
LONGEST_AXIS = 2**15 - 1  # voxels, by the header of NIfTI-1
NUMBER = re.compile(r"[-+]?(\d{1,30}(\.\d{0,40})?|\.\d{1,40})([eE][-+]?\d{1,3})?")
# From the axes of DICOM and ITK (towards left, posterior, superior) to those of NIfTI (right, anterior, superior).
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])


@dataclass(frozen=True)
class Described:
    """A volume's header, of nibabel, and the function that reads its voxels.

    `read` gives the stored numbers, flat (n,), the first axis fastest, and the SHA-256 of the files that they come from.
    """

    header: Any
    read: Callable[[], tuple[NDArray[Any], str]]


@dataclass(frozen=True)
class RawVoxels:
    """Where voxels lie as plain numbers.

    path: the file. dtype: with byte order. start: bytes of a plain header in the same file. packing: of the bytes behind. offset: unpacked
    bytes before the first voxel, or None for voxels at the end of an unpacked file. header: the bytes of a header in another file.
    """

    path: Path
    dtype: np.dtype[Any]
    start: int = 0
    packing: Packing = "none"
    offset: int | None = 0
    header: bytes = b""

    def read(self, shape: tuple[int, int, int]) -> tuple[NDArray[Any], str]:
        """The numbers, flat (n,), in little-endian order, and the digest of header and data.

        Raises:
            InputError: the file is missing, cut short, damaged, or larger than declared.
        """
        with opened(self.path, start=self.start, packing=self.packing) as source:
            offset = self.offset if self.offset is not None else source.size - math.prod(shape) * self.dtype.itemsize
            array = stored_array(source, shape, self.dtype, offset)
            digest = source.sha256()
        if self.header:
            digest = hashlib.sha256(self.header + bytes.fromhex(digest)).hexdigest()
        return little_endian(array), digest


def little_endian(array: NDArray[Any]) -> NDArray[Any]:
    """The same numbers in little-endian order, changed in place where they were not."""
    little = array.dtype.newbyteorder("<")
    return array if array.dtype == little else array.byteswap(inplace=True).view(little)


def text_beginning(path: Path) -> bytes:
    """The first MOST_HEADER bytes of a file, in which a text header ends.

    Raises:
        InputError: it cannot be read, or is empty.
    """
    with opened(path, packing="none") as source:
        beginning = source.read(MOST_HEADER)
    if not beginning:
        raise InputError(f"{path}: is empty, 0 bytes; copy or download it again")
    return beginning


def companion(header: Path, name: str) -> Path:
    """The data file that a header names: in the header's folder or below it, never elsewhere.

    Raises:
        InputError: the name leads elsewhere, by itself or by a link.
    """
    bare = name.strip()
    pure = (PurePosixPath(bare), PureWindowsPath(bare))
    candidate = header.parent / bare
    outside = not bare or "\0" in bare or any(one.is_absolute() or one.drive or ".." in one.parts for one in pure)
    if outside or leads_outside(candidate, header.parent):
        raise InputError(f"{header}: names a data file outside its folder, {bare!r}; put it beside the header and name it there")
    if resolved(candidate) == resolved(header):
        raise InputError(f"{header}: names itself as its data file; write it anew")
    return candidate


def real_numbers(text: str, count: int | None, path: Path, field: str) -> list[float]:
    """Finite numbers between spaces, `count` of them unless it is None.

    Raises:
        InputError: there are others.
    """
    words = text.split()
    numbers = [float(word) for word in words if NUMBER.fullmatch(word)]
    if len(numbers) != len(words) or not numbers or (count is not None and len(numbers) != count) or not all(map(math.isfinite, numbers)):
        wanted = "numbers" if count is None else f"{count} numbers"
        raise InputError(f"{path}: {field} is {text[:60]!r}, {wanted} are needed; convert the scan again")
    return numbers


def whole_numbers(text: str, count: int | None, path: Path, field: str) -> list[int]:
    """Whole numbers between spaces; see `real_numbers`."""
    numbers = real_numbers(text, count, path, field)
    if any(not number.is_integer() for number in numbers):
        raise InputError(f"{path}: {field} is {text[:60]!r}, whole numbers are needed; convert the scan again")
    return [int(number) for number in numbers]


def three_axes(lengths: Sequence[int], path: Path) -> tuple[int, int, int]:
    """The shape (i, j, k) of a volume; further axes of length 1 are dropped.

    Raises:
        InputError: there are fewer or more than three axes, or one is empty or longer than NIfTI can hold.
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
    """A NIfTI-1 header whose sform and qform state the grid.

    Args:
        path: the file, for messages.
        shape: (i, j, k).
        dtype: of the voxels, any byte order.
        steps: (3, 3), column a is the way from a voxel to the next along axis a, in mm towards right, anterior, superior.
        origin: (3,), the centre of the first voxel, likewise.

    Raises:
        InputError: the steps are no numbers, of no length, or not at right angles.
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
