"""Read stored voxels under limits: declared sizes are compared with the file and with free memory before anything is allocated."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from angiosynth.data.formats import not_readable
from angiosynth.errors import InputError
from angiosynth.runtime.machine import memory_available
from angiosynth.runtime.unpacking import MOST_RATIO, Packing, Unpacking

MOST_VOXELS = 2**28  # 1024 x 1024 x 256, seven times the paper's scans; 1 GB as 32-bit numbers
MOST_OFFSET = 2**24  # bytes of header extensions, in which converters store whole DICOM headers
TRAILING = 2**16  # ignored bytes after the voxels; some programs pad the last block


@dataclass(frozen=True)
class StoredVolume:
    """Unscaled voxels (i, j, k) in the axis order of the file, with a header of nibabel and the SHA-256 of the file."""

    array: NDArray[Any]
    header: Any
    sha256: str


def opened(path: Path, *, start: int = 0, packing: Packing = "as it says") -> Unpacking:
    """Open a file as `Unpacking`; operating system errors are raised as InputError."""
    try:
        return Unpacking(path, start=start, packing=packing)
    except OSError as error:
        raise InputError(f"{path}: {not_readable(path, error)}") from error


def stored_array(
    source: Unpacking, shape: tuple[int, int, int], dtype: np.dtype[Any], offset: int = 0, beginning: bytes = b""
) -> NDArray[Any]:
    """Read the stored numbers as a flat array (n,).

    Args:
        source: the file.
        shape: (i, j, k).
        dtype: data type of the numbers, including byte order.
        offset: unpacked bytes before the first voxel.
        beginning: unpacked bytes that have already been read.

    Raises:
        InputError: the file has fewer bytes than declared or many more, or the declared size exceeds the limits.
    """
    path = source.path
    if dtype.kind not in "iuf":
        raise InputError(f"{path}: voxels are of type {dtype}, plain numbers are needed; convert to grey values")
    voxels = math.prod(shape)
    end = offset + voxels * dtype.itemsize
    refuse_size(source, shape, offset, end)
    source.most_on_disk = end + end // 8 + 2 * TRAILING  # incompressible data grow slightly when compressed
    array = np.empty(voxels, dtype)
    flat, first = array.view(np.uint8), np.frombuffer(beginning[offset:], np.uint8)[: end - offset]
    flat[: len(first)] = first
    existing = len(beginning) + source.skip(offset - len(beginning)) + source.fill(flat[len(first) :])
    if existing < end:
        raise InputError(f"{path}: is cut short, {existing} bytes instead of {end}; copy it again")
    if source.skip(TRAILING + 1) > TRAILING:
        raise InputError(f"{path}: holds more than the {end} bytes that its header declares; convert the scan again")
    return array


def refuse_size(source: Unpacking, shape: tuple[int, int, int], offset: int, end: int) -> None:
    """Check a declared size before any voxel is read.

    Raises:
        InputError: the file is too small for it, it exceeds the limits for scans of heads, or it exceeds the free memory.
    """
    path = source.path
    if offset < 0 or end > source.size * (MOST_RATIO if source.packed else 1):
        raise InputError(f"{path}: is cut short, {source.size} bytes{' packed' * source.packed} instead of {end}; copy it again")
    if math.prod(shape) > MOST_VOXELS or offset > MOST_OFFSET:
        raise InputError(f"{path}: {shape} voxels behind {offset:,} bytes; {MOST_VOXELS:,} behind {MOST_OFFSET:,} are read, cut the scan")
    refuse_memory(path, shape, end)


def refuse_memory(path: Path, shape: tuple[int, ...], stored: int) -> None:
    """Check that a volume fits the free memory: `stored` bytes, plus its voxels as 32-bit numbers.

    Raises:
        InputError: it does not.
    """
    free, needed = memory_available(), stored + math.prod(shape) * np.dtype(np.float32).itemsize
    if free and needed > free:
        raise InputError(f"{path}: takes {needed / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB are free; close other programs")
