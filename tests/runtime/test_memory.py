"""Freed memory is kept: the next tensor of the same size costs no new pages."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

# Without first: what is set stays set. Each time the second tensor counts, whose size was freed before.
SCRIPT = """
import resource
import torch
from angiosynth.runtime.memory import keep_freed_memory

def faults_of_the_second():
    for _ in range(2):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        tensor = torch.ones(25_000_000)
        del tensor
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    return faults

print(faults_of_the_second(), keep_freed_memory(), faults_of_the_second())
"""


def test_what_was_freed_serves_again() -> None:
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("THP_", "MALLOC_"))}
    ran = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, env=variables)
    without, supported, kept = ran.stdout.split()
    if supported != "True":
        pytest.skip("the C library is not glibc")
    assert int(without) > 10_000  # of 24,000 pages
    assert int(kept) < 2_000
