"""Settings of the C allocator and of Python's garbage collector that suit training: tensors of the same sizes in every step."""

from __future__ import annotations

import ctypes
import gc
import os
from contextlib import suppress

MMAP_MAX, TRIM_THRESHOLD, TOP_PAD = -4, -1, -2  # malloc.h
KEEP, GROW = 2**31 - 1, 2**26  # bytes
NEW_OBJECTS = 10_000  # between two collections; Python's default is 700 to 2000


def keep_freed_memory() -> bool:
    """Let the C library keep freed memory, and torch use large pages. Must be called before torch is first used.

    Otherwise every large tensor is allocated anew by the kernel, which clears it page by page; docs/benchmarks.md has measurements.

    Returns:
        Whether the C library supports this (glibc).
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    return all([set_option(MMAP_MAX, 0), set_option(TRIM_THRESHOLD, KEEP), set_option(TOP_PAD, GROW)])


def collect_garbage_seldom() -> None:
    """Raise the number of new objects after which Python searches for garbage.

    Importing torch and MLflow makes 500,000 objects and no garbage; with the default a quarter of the import is spent on searching.
    """
    gc.set_threshold(NEW_OBJECTS, *gc.get_threshold()[1:])


def give_back_freed_memory() -> None:
    """Return freed memory to the kernel, for programs with allocations of varying sizes, whose gaps would accumulate."""
    with suppress(AttributeError, OSError):  # C libraries other than glibc
        ctypes.CDLL(None).malloc_trim(0)
