"""Settings of the C allocator: keep freed memory for reuse, since every training step allocates tensors of the same sizes."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress

MMAP_MAX, TRIM_THRESHOLD, TOP_PAD = -4, -1, -2  # malloc.h
KEEP, GROW = 2**31 - 1, 2**26  # bytes


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


def give_back_freed_memory() -> None:
    """Return freed memory to the kernel, for programs with allocations of varying sizes, whose gaps would accumulate."""
    with suppress(AttributeError, OSError):  # C libraries other than glibc
        ctypes.CDLL(None).malloc_trim(0)
