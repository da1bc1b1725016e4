"""ZIP archives (.npz, and .pt as torch writes it) and .npy files, checked before anything in them is unpacked."""

from __future__ import annotations

import os
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from angiosynth.reading import MIB, open_file

END, END_BYTES = b"PK\x05\x06", 22  # the record at an archive's end
LOCATOR, LOCATOR_BYTES = b"PK\x06\x07", 20  # before it, in archives of the 64-bit form
END64, END64_BYTES = b"PK\x06\x06", 56
ENTRY_BYTES = 1024  # of the list of contents, which is read whole, for each entry
# An array of grey noise shrinks to a half, a label to a fiftieth. Small ones may be as empty as they like.
MOST_RATIO, LOOSE = 100, 64 * MIB
MOST_ARRAY = 1 << 31  # bytes of an array, 233,000 patches of 96 x 96; the paper's set has a sixth


@dataclass(frozen=True)
class PackedArray:
    """An array of an .npz file before it is unpacked."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    _stream: IO[bytes]

    def read_into(self, array: NDArray[Any]) -> None:
        """Unpack the next elements, in C order, into a contiguous array of the same dtype.

        Raises:
            ValueError, OSError, zipfile.BadZipFile, zlib.error, EOFError: they are damaged or cut short.
        """
        data = self._stream.read(array.nbytes)
        if len(data) != array.nbytes:
            raise ValueError("cut short")
        array[...] = np.frombuffer(data, self.dtype).reshape(array.shape)


def check_archive(stream: BinaryIO, most: int) -> zipfile.ZipFile:
    """Open an archive of at most `most` entries, all different, which together are no longer than the file.

    Raises:
        ValueError, zipfile.BadZipFile, OSError, NotImplementedError: it is no such archive.
    """
    size = os.fstat(stream.fileno()).st_size
    entries, listed = _entries(stream, size)
    if entries > most or listed > most * ENTRY_BYTES:
        raise ValueError(f"more than {most} entries")
    archive = zipfile.ZipFile(stream)
    infos = archive.infolist()
    if len({info.filename for info in infos}) < len(infos) or sum(info.compress_size for info in infos) > size:
        raise ValueError("entries that stand twice")
    return archive


@contextmanager
def packed_arrays(path: Path, names: tuple[str, ...]) -> Iterator[tuple[PackedArray, ...]]:
    """The arrays of these names of an .npz file that holds them and no others, one after the other to be unpacked.

    Raises:
        InputError: it is no ordinary file.
        ValueError, OSError, zipfile.BadZipFile, NotImplementedError, EOFError, zlib.error: it is damaged, has other arrays, arrays beyond
            MOST_ARRAY, lengths that do not fit their shapes, or is packed as tightly as no patches can be.
    """
    with open_file(path) as stream, check_archive(stream, len(names)) as archive:
        infos = [archive.getinfo(f"{name}.npy") for name in names] if len(archive.infolist()) == len(names) else []
        if len(infos) != len(names):
            raise ValueError("other arrays")
        whole = sum(info.file_size for info in infos)
        if max(info.file_size for info in infos) > MOST_ARRAY:
            raise ValueError(f"an array of more than {MOST_ARRAY:,} bytes")
        if whole > LOOSE and whole > MOST_RATIO * sum(info.compress_size for info in infos):
            raise ValueError(f"{whole:,} bytes that are packed as tightly as no patches can be")
        members = []
        for info in infos:
            member = archive.open(info)
            shape, dtype, start = _header(member)
            if start + prod(shape) * dtype.itemsize != info.file_size:
                raise ValueError("lengths that do not fit the shapes")
            members.append(PackedArray(shape, dtype, member))
        yield tuple(members)


def open_array(path: Path) -> NDArray[Any]:
    """An .npy file, mapped into memory to be read.

    Raises:
        InputError: it is no ordinary file.
        OSError, ValueError: it cannot be read, is damaged, or is not as long as its shape says.
    """
    with open_file(path) as stream:
        shape, dtype, start = _header(stream)
        if start + prod(shape) * dtype.itemsize != os.fstat(stream.fileno()).st_size:
            raise ValueError("a length that does not fit the shape")
        return np.memmap(stream, dtype, "r", start, shape)


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    """Shape, dtype and length of an array's header. ValueError: it is damaged, of Python objects, or not in C order."""
    try:
        version = npy.read_magic(stream)
        if version not in ((1, 0), (2, 0)):
            raise ValueError("an unknown version")
        shape, fortran, dtype = (npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0)(stream)
    except Exception as error:  # the header is a Python expression: whatever reading it raises
        raise ValueError("no array") from error
    if dtype.hasobject or (fortran and len(shape) > 1) or min(shape, default=0) < 0 or not dtype.itemsize:
        raise ValueError("no plain array")
    return shape, dtype, stream.tell()


def _entries(stream: BinaryIO, size: int) -> tuple[int, int]:
    """How many entries an archive declares and the length of their list, before `zipfile` reads that whole."""
    length = min(size, END_BYTES + LOCATOR_BYTES + END64_BYTES)
    stream.seek(size - length)
    tail = stream.read(length)
    end = tail[-END_BYTES:]
    if len(end) < END_BYTES or end[:4] != END or end[-2:] != b"\0\0":
        raise ValueError("no ZIP archive")
    entries, listed = struct.unpack("<HI", end[10:16])
    locator = tail[-END_BYTES - LOCATOR_BYTES : -END_BYTES]
    if locator[:4] == LOCATOR:
        end64 = tail[: -END_BYTES - LOCATOR_BYTES]
        if len(end64) < END64_BYTES or end64[:4] != END64 or struct.unpack("<Q", locator[8:16])[0] != size - length:
            raise ValueError("no ZIP archive")
        entries, listed = struct.unpack("<QQ", end64[32:48])
    return int(entries), int(listed)
