"""Scans whose arrays lie on disk, for the validation patients of a stage: at 512x512x150 voxels each would hold 0.24 GB of memory."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from angiosynth.data.intensity import Scan
from angiosynth.runtime.mapped import nameless_file

ALIGNED = 64  # bytes; arrays begin at multiples


@dataclass(frozen=True)
class _Place:
    """Where an array lies in the file."""

    start: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    is_fortran: bool

    def array(self, file: NDArray[np.uint8]) -> NDArray[Any]:
        stored = self.shape[::-1] if self.is_fortran else self.shape
        count = int(np.prod(stored)) * self.dtype.itemsize
        array = file[self.start : self.start + count].view(self.dtype).reshape(stored)
        return array.T if self.is_fortran else array


def mapped_scans(scans: Iterable[Scan], folder: Path) -> list[Scan]:
    """Write the arrays of scans into a file as they come, and return the scans with read-only arrays that map it.

    One scan at a time is in memory; of the mapped arrays the system keeps what fits. The file has no name (`nameless_file`). On Windows
    scans stay in memory.

    Args:
        scans: an iterator that loads each when it is asked for.
        folder: for the file; needs room for 6 bytes a voxel.

    Raises:
        OSError: the disk is full.
    """
    if sys.platform == "win32":
        return list(scans)
    with nameless_file(folder) as stream:
        written = [(_without_arrays(scan), _written(scan, stream)) for scan in scans]
        stream.flush()
        file = np.asarray(np.memmap(stream, np.uint8, "r")) if written else np.zeros(0, np.uint8)
    return [_with_arrays(scan, {name: place.array(file) for name, place in places.items()}) for scan, places in written]


def _with_arrays(scan: Scan, arrays: dict[str, NDArray[Any]]) -> Scan:
    return replace(scan, image=arrays["image"], brain=arrays["brain"], label=arrays.get("label"))


def _without_arrays(scan: Scan) -> Scan:
    nothing = np.zeros((0, 0, 0))
    return replace(scan, image=nothing.astype(np.float32), brain=nothing.astype(np.bool_), label=None)


def _written(scan: Scan, stream: IO[bytes]) -> dict[str, _Place]:
    """Append the arrays of a scan to the file, with the order of axes that they have in memory."""
    places = {}
    for name in ("image", "brain", "label"):
        if (array := getattr(scan, name)) is None:
            continue
        stream.write(bytes(-stream.tell() % ALIGNED))
        is_fortran = array.flags.f_contiguous and not array.flags.c_contiguous
        places[name] = _Place(stream.tell(), array.dtype, array.shape, is_fortran)
        stream.write(np.ascontiguousarray(array.T if is_fortran else array).data.cast("B"))
    return places
