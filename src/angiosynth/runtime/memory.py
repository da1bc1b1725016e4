"""Keeping freed memory, for tensors of the same sizes come again with every step."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress

MMAP_MAX, TRIM_THRESHOLD, TOP_PAD = -4, -1, -2  # malloc.h
KEEP, GROW = 2**31 - 1, 2**26  # bytes


def keep_freed_memory() -> bool:
    """Tell the C library to keep what is freed, and torch to use large pages; to be called before torch is first used.

    Otherwise each large tensor is taken from the kernel anew, which clears it page by page. Measured in docs/benchmarks.md.

    Returns:
        Whether the C library is one that can be told (glibc).
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    return all([set_option(MMAP_MAX, 0), set_option(TRIM_THRESHOLD, KEEP), set_option(TOP_PAD, GROW)])


def give_back_freed_memory() -> None:
    """Give the kernel what is freed and kept, for programs whose needs come in all sizes, which would else pile up between one another."""
    with suppress(AttributeError, OSError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
