"""The number of threads that numerical libraries compute with."""

from __future__ import annotations

import os
from typing import Literal

import torch
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]


def use_threads(count: int | Literal["auto"]) -> None:
    """Set the number of threads of torch and other libraries, in this process and in those that it starts; "auto" changes nothing.

    Sums are split among threads, so their number changes rounding.
    """
    if count == "auto":
        return
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = str(count)  # for what is loaded later
    torch.set_num_threads(count)
    threadpool_limits(count)
