"""`use_threads` sets what torch and OpenMP compute with, here and in processes started afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch
from threadpoolctl import threadpool_info  # type: ignore[import-untyped]

from angiosynth.compute.threads import torch_threads, use_threads


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, os.environ.get(name, "1"))  # so that it is put back
    before = torch.get_num_threads()
    yield
    use_threads(before)


def test_libraries_and_later_processes_take_so_many() -> None:
    for count in (1, 2):
        use_threads(count)
        assert torch.get_num_threads() == count
        assert {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "openmp"} == {count}
    code = "import torch; print(torch.get_num_threads())"
    later = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(later.stdout) == 2


def test_auto_changes_nothing() -> None:
    use_threads(2)
    use_threads("auto")
    assert torch.get_num_threads() == 2


def test_for_a_while_is_for_torch_alone() -> None:
    use_threads(1)
    before = dict(os.environ)
    with torch_threads(2):
        assert torch.get_num_threads() == 2
        assert dict(os.environ) == before
    assert torch.get_num_threads() == 1
    with torch_threads("auto"):
        assert torch.get_num_threads() == 1
