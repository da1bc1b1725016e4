"""Freed memory is kept: the next tensor of the same size costs no new pages."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SCRIPT = """
import resource
from angiosynth.runtime.memory import keep_freed_memory
print(KEEP and keep_freed_memory())
import torch
faults = []
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    tensor = torch.ones(25_000_000)
    del tensor
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(faults[-1])
"""


def _later_faults(keep: bool) -> tuple[bool, int]:
    script = SCRIPT.replace("KEEP", str(keep))
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("THP_", "MALLOC_"))}
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    told, faults = ran.stdout.split()
    return told == "True", int(faults)


@pytest.mark.long
def test_what_was_freed_serves_again() -> None:
    told, faults = _later_faults(keep=True)
    if not told:
        pytest.skip("the C library is not glibc")
    assert faults < 2_000  # of 24,000 pages
    assert _later_faults(keep=False)[1] > 10_000
