"""Large arrays in files without a name: the system keeps in memory what fits, and nothing is left after any end of the process."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from angiosynth.runtime.output import scratch_folder

LEAST_MAPPED = 64 * 1024 * 1024  # bytes; smaller arrays stay in memory


@contextmanager
def nameless_file(folder: Path) -> Iterator[IO[bytes]]:
    """Yield an empty file for writing and mapping, which loses its name at the end; what maps it then can still be read.

    A network file system may rename the file instead and remove it when the process ends. Not for Windows, where an open file keeps its
    name.

    Args:
        folder: for the file; created if it is missing.
    """
    with scratch_folder(folder / "mapped") as scratch, (scratch / "arrays").open("xb+") as stream:
        yield stream


def stored(pieces: Iterable[NDArray[np.uint8]], shape: tuple[int, ...], folder: Path) -> NDArray[np.uint8]:
    """Join pieces along the first axis; an array of LEAST_MAPPED bytes or more is read-only and lies in a nameless file.

    Args:
        pieces: arrays (k, ...), made one after another.
        shape: (n, ...) of the result.
        folder: for the file; needs room for the array.

    Raises:
        OSError: the disk is full.
    """
    if prod(shape) < LEAST_MAPPED or sys.platform == "win32":
        array: NDArray[np.uint8] = np.concatenate([np.zeros((0, *shape[1:]), np.uint8), *pieces])
        return array
    with nameless_file(folder) as stream:
        for piece in pieces:
            stream.write(np.ascontiguousarray(piece).data.cast("B"))
        stream.flush()
        return np.asarray(np.memmap(stream, np.uint8, "r", shape=shape))
