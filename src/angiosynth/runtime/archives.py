"""Check ZIP archives (.npz, and .pt as written by torch) and .npy files before anything in them is unpacked."""

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

END, END_BYTES = b"PK\x05\x06", 22  # end of central directory record
LOCATOR, LOCATOR_BYTES = b"PK\x06\x07", 20  # ZIP64 locator, which precedes it
END64, END64_BYTES = b"PK\x06\x06", 56  # ZIP64 end of central directory record
ENTRY_BYTES = 1024  # limit of the central directory, which is read as a whole, per entry
# Compression ratio: grey noise shrinks to a half, a label to a fiftieth. Archives below LOOSE bytes may have any ratio.
MOST_RATIO, LOOSE = 100, 64 * MIB
MOST_ARRAY = 1 << 31  # bytes of an array, 233,000 patches of 96 x 96; the paper's set has a sixth of these


@dataclass(frozen=True)
class PackedArray:
    """An array of an .npz file before it is unpacked."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    _stream: IO[bytes]

    def read_into(self, array: NDArray[Any]) -> None:
        """Unpack the next elements, in C order, into a contiguous array of the same dtype.

        Raises:
            ValueError, OSError, zipfile.BadZipFile, zlib.error, EOFError: they are damaged or truncated.
        """
        data = self._stream.read(array.nbytes)
        if len(data) != array.nbytes:
            raise ValueError("cut short")
        array[...] = np.frombuffer(data, self.dtype).reshape(array.shape)


def check_archive(stream: BinaryIO, most: int) -> zipfile.ZipFile:
    """Open an archive with at most `most` entries, which have distinct names and do not overlap in the file.

    Raises:
        ValueError, zipfile.BadZipFile, OSError, NotImplementedError: it is not such an archive.
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
    """Open an .npz file that contains exactly the named arrays; they can be unpacked one after the other.

    Raises:
        InputError: it is not a regular file.
        ValueError, OSError, zipfile.BadZipFile, NotImplementedError, EOFError, zlib.error: it is damaged, contains other arrays or arrays
            beyond MOST_ARRAY, a length does not match a shape, or the compression ratio is impossible for patches.
    """
    with open_file(path) as stream, check_archive(stream, len(names)) as archive:
        infos = [archive.getinfo(f"{name}.npy") for name in names] if len(archive.infolist()) == len(names) else []
        if len(infos) != len(names):
            raise ValueError("other arrays")
        unpacked = sum(info.file_size for info in infos)
        if max(info.file_size for info in infos) > MOST_ARRAY:
            raise ValueError(f"an array of more than {MOST_ARRAY:,} bytes")
        if unpacked > LOOSE and unpacked > MOST_RATIO * sum(info.compress_size for info in infos):
            raise ValueError(f"{unpacked:,} bytes that are packed as tightly as no patches can be")
        members = []
        for info in infos:
            member = archive.open(info)
            shape, dtype, start = _header(member)
            if start + prod(shape) * dtype.itemsize != info.file_size:
                raise ValueError("lengths that do not fit the shapes")
            members.append(PackedArray(shape, dtype, member))
        yield tuple(members)


def open_array(path: Path) -> NDArray[Any]:
    """Memory-map an .npy file for reading.

    Raises:
        InputError: it is not a regular file.
        OSError, ValueError: it cannot be read, is damaged, or its length does not match its shape.
    """
    with open_file(path) as stream:
        shape, dtype, start = _header(stream)
        if start + prod(shape) * dtype.itemsize != os.fstat(stream.fileno()).st_size:
            raise ValueError("a length that does not fit the shape")
        return np.memmap(stream, dtype, "r", start, shape)


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    """Read shape, dtype and header length of an array. Raises ValueError if it is damaged, holds Python objects, or is not in C order."""
    try:
        version = npy.read_magic(stream)
        if version not in ((1, 0), (2, 0)):
            raise ValueError("an unknown version")
        shape, fortran, dtype = (npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0)(stream)
    except Exception as error:  # the header is a Python literal; parsing it may raise any exception
        raise ValueError("no array") from error
    if dtype.hasobject or (fortran and len(shape) > 1) or min(shape, default=0) < 0 or not dtype.itemsize:
        raise ValueError("no plain array")
    return shape, dtype, stream.tell()


def _entries(stream: BinaryIO, size: int) -> tuple[int, int]:
    """Declared number of entries and length of the central directory, read before `zipfile` reads the directory as a whole."""
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
