"""Sequential reading of files that may be packed by gzip, unpacking no more than is asked for: a few kilobytes may unpack to gigabytes."""

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
AS_GZIP, AS_EITHER = 31, 47  # zlib's wbits: gzip's heading and checksum; gzip's or zlib's, as the heading says
MOST_RATIO = 1032  # deflate makes no more bytes of one
CHUNK = 1 << 16
# A gzip file may be any number of packed parts. Blocked gzip has one for 64 kB; empty ones would only take time.
MOST_PARTS = 100_000


# Whether the bytes are packed: as the first two of them say; by no means; by gzip; by zlib or gzip.
Packing: TypeAlias = Literal["as it says", "none", "gzip", "zlib"]


class Unpacking:
    """A file's bytes in order, unpacked if the file is packed.

    Attributes:
        size: bytes on disk, from `start` on.
        packed: whether by gzip or zlib.
        most_on_disk: limit of the bytes that are read; to be raised once the length of the content is known.
    """

    def __init__(self, path: Path, *, start: int = 0, packing: Packing = "as it says") -> None:
        """Open the file.

        Args:
            path: the file.
            start: bytes of a plain header that come before, at most MIB; they count for the digest.
            packing: of the bytes behind them.

        Raises:
            InputError: it is no ordinary file.
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
        """The next `count` bytes; fewer only at the end.

        Raises:
            InputError: it is damaged or cut short, has too many parts, or is longer than `most_on_disk`.
        """
        parts = []
        while count and (part := self._some(count)):
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def fill(self, array: NDArray[np.uint8]) -> int:
        """Read into a flat array; gives the number of bytes read, less than its length only at the end. InputError as `read`."""
        done = 0
        while done < len(array) and (part := self._some(min(len(array) - done, CHUNK))):
            array[done : done + len(part)] = np.frombuffer(part, np.uint8)
            done += len(part)
        return done

    def skip(self, count: int) -> int:
        """Skip the next bytes; gives the number that were skipped. InputError as `read`."""
        done = 0
        while done < count and (part := self._some(min(count - done, CHUNK))):
            done += len(part)
        return done

    def sha256(self) -> str:
        """Of the file as it lies on disk; to be asked for at its end."""
        return self._sha256.hexdigest()

    def _some(self, most: int) -> bytes:
        """Up to `most` bytes, at least one but at the end."""
        if self.packed:
            try:
                return self._unpacked(most)
            except zlib.error as error:
                raise self._damaged() from error
        if self._pending:  # the two first bytes
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
        """Begin the next packed part; False at the end. Parts may be filled up with zeros."""
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
