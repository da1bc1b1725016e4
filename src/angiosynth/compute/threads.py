"""Number of threads of numerical libraries."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

Threads = int | Literal["auto"]


def use_threads(count: Threads) -> None:
    """Set the number of threads of torch and other libraries in this process and its children; "auto" changes nothing.

    Sums are split among threads, so the number of threads affects rounding.
    """
    if count == "auto":
        return
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = str(count)  # for libraries that are loaded later
    torch.set_num_threads(count)
    threadpool_limits(count)


@contextmanager
def torch_threads(count: Threads) -> Iterator[None]:
    """Set the number of torch's threads within this context; other libraries and child processes are not affected."""
    before = torch.get_num_threads()
    if count != "auto":
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
