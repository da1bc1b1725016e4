"""What this process may use of the machine."""

from __future__ import annotations

import os


def cpu_count() -> int:
    """Processors this process may use, at least 1."""
    counts = [os.cpu_count() or 1]
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        counts.append(len(os.sched_getaffinity(0)))
    return max(1, min(counts))
