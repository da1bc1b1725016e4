"""What a container, a batch system or `ulimit` leaves of the machine."""

from __future__ import annotations

import multiprocessing
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from angiosynth.runtime import machine
from angiosynth.runtime.machine import cpu_count, heed_quota, memory_available, not_writable, processor
from angiosynth.search import workers

GB = 10**9


def _contained(monkeypatch: pytest.MonkeyPatch, root: Path, own: str, files: dict[str, str], meminfo_kb: int = 64_000_000) -> None:
    """Control groups as files under `root`; /proc tells `own`."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    monkeypatch.setattr(machine, "CGROUPS", root)
    read = machine._text
    monkeypatch.setattr(machine, "_text", lambda path: own if str(path) == "/proc/self/cgroup" else read(path))
    monkeypatch.setattr(machine, "_machine", lambda: iter([meminfo_kb * 1024]))
    monkeypatch.setattr(machine, "_limits", lambda: iter([]))


V2 = {"cgroup.controllers": "cpu memory"}
V1 = "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n"
MEMORY = {
    "version 2": (
        "0::/\n",
        {**V2, "memory.max": "8000000000", "memory.current": "1000000000", "memory.stat": "inactive_file 500000000"},
        7.5,
    ),
    "version 2, no limit": ("0::/\n", {**V2, "memory.max": "max", "memory.current": "1000000000"}, 65.536),
    "version 2, the limit is a parent's": (
        "0::/pod/box\n",
        {**V2, "pod/box/memory.max": "max", "pod/memory.max": "4000000000", "pod/memory.current": "1000000000"},
        3.0,
    ),
    "version 2, its path is not mounted": ("0::/../../pod\n", {**V2, "memory.max": "4000000000", "memory.current": "0"}, 4.0),
    "version 1": (
        V1,
        {"memory/docker/abc/memory.limit_in_bytes": "2000000000", "memory/docker/abc/memory.usage_in_bytes": "500000000"},
        1.5,
    ),
    "version 1, no limit": (
        V1,
        {"memory/docker/abc/memory.limit_in_bytes": "9223372036854771712", "memory/docker/abc/memory.usage_in_bytes": "5"},
        65.536,
    ),
    "used up": ("0::/\n", {**V2, "memory.max": "100", "memory.current": "200"}, 0.0),
    "damaged": ("0::/\n", {**V2, "memory.max": "?", "memory.current": ""}, 65.536),
    "none": ("", {}, 65.536),
}


@pytest.mark.parametrize("case", MEMORY)
def test_memory_is_what_the_tightest_limit_leaves(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neighbours: both versions of control groups, limits of parents, none, of a path outside the container, unreadable ones."""
    own, files, gigabytes = MEMORY[case]
    _contained(monkeypatch, tmp_path, own, files)
    assert memory_available() == pytest.approx(gigabytes * GB, rel=1e-9)


PROCESSORS = {
    "version 2": ("0::/\n", {**V2, "cpu.max": "150000 100000"}, 2),
    "version 2, no quota": ("0::/\n", {**V2, "cpu.max": "max 100000"}, 8),
    "version 2, less than one": ("0::/\n", {**V2, "cpu.max": "10000 100000"}, 1),
    "version 1": (V1, {"cpu,cpuacct/docker/abc/cpu.cfs_quota_us": "300000", "cpu,cpuacct/docker/abc/cpu.cfs_period_us": "100000"}, 3),
    "version 1, no quota": (V1, {"cpu/docker/abc/cpu.cfs_quota_us": "-1", "cpu/docker/abc/cpu.cfs_period_us": "100000"}, 8),
}


@pytest.mark.parametrize("case", PROCESSORS)
def test_processors_are_what_the_tightest_limit_leaves(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own, files, count = PROCESSORS[case]
    _contained(monkeypatch, tmp_path, own, files)
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)), raising=False)
    assert cpu_count() == count
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    heed_quota()
    assert os.environ.get("OMP_NUM_THREADS") == (str(count) if count < 8 else None)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


def test_processors_without_affinity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _contained(monkeypatch, tmp_path, "", {})
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert cpu_count() == 4


@pytest.mark.skipif(sys.platform != "linux", reason="ulimit -v holds on Linux alone")
@pytest.mark.parametrize("flag", ["-v", "-d"])
def test_ulimit_is_a_limit_too(flag: str) -> None:
    code = f"{sys.executable} -c 'from angiosynth.runtime.machine import memory_available; print(memory_available())'"
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2] / "src")}
    done = subprocess.run(["bash", "-c", f"ulimit {flag} 1000000; {code}"], env=env, capture_output=True, text=True, check=True)
    assert 0.5 * GB < int(done.stdout) < 1.024 * GB


@pytest.mark.skipif(not Path("/proc/meminfo").is_file(), reason="the kernel's own number is looked up there")
def test_the_machine_s_own_number_is_the_kernel_s() -> None:
    found = re.search(r"MemAvailable:\s+(\d+)", Path("/proc/meminfo").read_text())
    assert found is not None
    assert next(machine._machine()) == pytest.approx(int(found[1]) * 1024, rel=0.2)


def test_a_folder_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    assert not_writable(tmp_path) == ""
    assert not_writable(tmp_path / "not" / "yet") == ""
    assert list(tmp_path.iterdir()) == []
    assert "/proc" in not_writable(Path("/proc/none"))
    (tmp_path / "file").touch()
    assert "cannot be written" in not_writable(tmp_path / "file" / "below")


def nothing(job: int) -> None:
    del job


def test_workers_start_where_the_system_knows_no_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    started: list[str] = []

    class Process:
        name, exitcode, pid = "worker", 0, 1

        def __init__(self, **_: object) -> None:
            started.append(os.environ["OMP_NUM_THREADS"])
            self.alive = False

        def start(self) -> None:
            self.alive = True

        def is_alive(self) -> bool:
            return self.alive

        def join(self, timeout: float) -> None:
            self.alive = False

    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(multiprocessing.get_context("spawn"), "Process", Process)
    workers.with_workers(nothing, 1, 2)
    assert started == ["4", "4"]


@pytest.mark.parametrize(
    ("flags", "title"),
    [
        ("fpu sse2 avx avx2", "AVX2, "),
        ("fpu avx2 avx512f", "AVX-512, "),
        ("avx2 avx512f avx512_bf16", "AVX-512 bfloat16, "),
        ("avx2 avx512f avx512_bf16 amx_tile amx_bf16", "AMX bfloat16, "),
        ("fpu sse2", ""),
    ],
)
def test_the_fastest_instructions_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: str, title: str) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor : 0\nmodel name\t: ACME 7\nflags\t\t: {flags}\n\nprocessor : 1\nmodel name : Other\n")
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(machine, "cpu_count", lambda: 2)
    assert processor() == f"ACME 7, {title}2 cores"


def test_a_system_that_names_none_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "missing")
    monkeypatch.setattr(machine, "cpu_count", lambda: 1)
    assert processor() == "unknown processor, 1 core"
