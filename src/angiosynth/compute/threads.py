"""The number of threads that numerical libraries compute with."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

Threads = int | Literal["auto"]


def use_threads(count: Threads) -> None:
    """Set the number of threads of torch and other libraries, in this process and in those that it starts; "auto" changes nothing.

    Sums are split among threads, so their number changes rounding.
    """
    if count == "auto":
        return
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = str(count)  # for what is loaded later
    torch.set_num_threads(count)
    threadpool_limits(count)


@contextmanager
def torch_threads(count: Threads) -> Iterator[None]:
    """Let torch alone compute with so many threads for a while; the environment of processes that are started stays as it is."""
    before = torch.get_num_threads()
    if count != "auto":
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
