"""How many processors there are to use."""

from __future__ import annotations

import multiprocessing
import os

import pytest

from angiosynth.experiments import workers
from angiosynth.runtime.machine import cpu_count


def test_processors_are_counted_where_the_system_knows_no_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS; and where the machine does not tell its number."""
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    for told, expected in ((3, 3), (None, 1)):
        monkeypatch.setattr(os, "cpu_count", lambda told=told: told)
        assert cpu_count() == expected


def nothing(job: int) -> None:
    del job


def test_workers_start_where_the_system_knows_no_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    started: list[str] = []

    class Process:
        name, exitcode, pid = "worker", 0, 1

        def __init__(self, **_: object) -> None:
            started.append(os.environ["OMP_NUM_THREADS"])

        def start(self) -> None: ...
        def join(self) -> None: ...

    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(multiprocessing.get_context("spawn"), "Process", Process)
    workers.with_workers(nothing, 1, 2)
    assert started == ["4", "4"]
