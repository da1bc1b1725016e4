"""Sequential, bounded reading of files that may be compressed: a few kilobytes may unpack to gigabytes, so only requested bytes are."""

from __future__ import annotations

import hashlib
import os
import zlib
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from angiosynth.errors import InputError
from angiosynth.reading import MIB, open_file

GZIP_MAGIC = b"\x1f\x8b"
AS_GZIP, AS_EITHER = 31, 47  # wbits of zlib: gzip header and checksum; gzip or zlib, detected by the header
MOST_RATIO = 1032  # largest compression ratio of deflate
CHUNK = 1 << 16
# A gzip file consists of any number of members. Blocked gzip has one per 64 kB; empty members would only take time.
MOST_PARTS = 100_000


# Compression of the bytes: detected by the first two bytes; none; gzip; zlib or gzip.
Packing: TypeAlias = Literal["as it says", "none", "gzip", "zlib"]


class Unpacking:
    """Reads the bytes of a file in order and unpacks them if the file is compressed.

    Attributes:
        size: bytes on disk after `start`.
        packed: whether the file is compressed with gzip or zlib.
        most_on_disk: limit of the bytes read from disk; raise it once the length of the content is known.
    """

    def __init__(self, path: Path, *, start: int = 0, packing: Packing = "as it says") -> None:
        """Open the file.

        Args:
            path: the file.
            start: length of an uncompressed header before the data, at most MIB bytes; it is included in the digest.
            packing: compression of the data.

        Raises:
            InputError: it is not a regular file.
            OSError: it cannot be read.
        """
        self.path = path
        self._stream = open_file(path)
        self.size = max(0, os.fstat(self._stream.fileno()).st_size - start)
        self.most_on_disk = MIB
        self._sha256 = hashlib.sha256()
        self._read = -start
        self._count(self._stream.read(start))
        self._pending = self._stream.read(len(GZIP_MAGIC))
        self._count(self._pending)
        self.packed = packing in ("gzip", "zlib") or (packing == "as it says" and self._pending == GZIP_MAGIC)
        self._wbits = AS_EITHER if packing == "zlib" else AS_GZIP
        self._inflater: Any = None
        self._parts = 0

    def __enter__(self) -> Unpacking:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stream.close()

    def read(self, count: int) -> bytes:
        """Read the next `count` bytes; fewer only at the end of the file.

        Raises:
            InputError: it is damaged or truncated, has too many members, or is longer than `most_on_disk`.
        """
        blocks = []
        while count and (block := self._some(count)):
            blocks.append(block)
            count -= len(block)
        return b"".join(blocks)

    def fill(self, array: NDArray[np.uint8]) -> int:
        """Read into a flat array and return the number of bytes, which is less than its length only at the end. InputError as `read`."""
        done = 0
        while done < len(array) and (block := self._some(min(len(array) - done, CHUNK))):
            array[done : done + len(block)] = np.frombuffer(block, np.uint8)
            done += len(block)
        return done

    def skip(self, count: int) -> int:
        """Skip the next bytes and return their number. InputError as `read`."""
        done = 0
        while done < count and (block := self._some(min(count - done, CHUNK))):
            done += len(block)
        return done

    def sha256(self) -> str:
        """Return the digest of the bytes read from disk so far; that of the file after reading to its end."""
        return self._sha256.hexdigest()

    def _some(self, most: int) -> bytes:
        """Read up to `most` bytes, at least one unless at the end."""
        if self.packed:
            try:
                return self._unpacked(most)
            except zlib.error as error:
                raise self._damaged() from error
        if self._pending:  # the first two bytes, which were read to detect gzip
            data, self._pending = self._pending[:most], self._pending[most:]
            return data
        return self._raw(most)

    def _unpacked(self, most: int) -> bytes:
        while self._inflater is not None or self._next_part():
            packed = self._pending or self._raw(CHUNK)
            if not packed:
                raise self._damaged()
            unpacked: bytes = self._inflater.decompress(packed, most)
            if self._inflater.eof:
                self._pending, self._inflater = self._inflater.unused_data, None
            else:
                self._pending = self._inflater.unconsumed_tail
            if unpacked:
                return unpacked
        return b""

    def _next_part(self) -> bool:
        """Start the next gzip member; False at the end. Zeros between members are padding."""
        if self._parts:
            self._pending = self._pending.lstrip(b"\0")
        while not self._pending:
            more = self._raw(CHUNK)
            if not more:
                return False
            self._pending = more.lstrip(b"\0")
        self._parts += 1
        if self._parts > MOST_PARTS:
            raise InputError(f"{self.path}: is packed in more than {MOST_PARTS:,} parts; pack it anew with gzip")
        self._inflater = zlib.decompressobj(self._wbits)
        return True

    def _raw(self, most: int) -> bytes:
        try:
            data = self._stream.read(most)
        except OSError as error:
            raise InputError(f"{self.path}: cannot be read ({error.strerror}); look at its disk or copy it again") from error
        self._count(data)
        return data

    def _count(self, data: bytes) -> None:
        self._sha256.update(data)
        self._read += len(data)
        if self._read > self.most_on_disk:
            raise InputError(f"{self.path}: is longer than its contents can be, more than {self.most_on_disk:,} bytes; copy it again")

    def _damaged(self) -> InputError:
        return InputError(f"{self.path}: compressed file is cut short or damaged; copy it again")
