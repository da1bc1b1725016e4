"""Keeping freed memory, for tensors of the same sizes come again with every step."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress

MMAP_MAX, TRIM_THRESHOLD, TOP_PAD = -4, -1, -2  # malloc.h
KEEP, GROW = 2**31 - 1, 2**26  # bytes


def keep_freed_memory() -> bool:
    """Let the C library keep freed memory, and torch use large pages; to be called before torch is first used.

    Otherwise each large tensor is taken from the kernel anew, which clears it page by page. Measured in docs/benchmarks.md.

    Returns:
        Whether the C library has such a setting (glibc).
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    return all([set_option(MMAP_MAX, 0), set_option(TRIM_THRESHOLD, KEEP), set_option(TOP_PAD, GROW)])


def give_back_freed_memory() -> None:
    """Return freed memory to the kernel, for programs with allocations of all sizes, whose gaps would else pile up."""
    with suppress(AttributeError, OSError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
