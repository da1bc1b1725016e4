"""Processors and memory available to this process, within the limits of containers, batch systems and `ulimit`."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from math import ceil
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
CPUINFO = Path("/proc/cpuinfo")
# Flags in /proc/cpuinfo, fastest first. These processor classes differ in rounding, and severalfold in speed.
INSTRUCTIONS = {
    "amx_bf16": "AMX bfloat16",
    "avx512_bf16": "AVX-512 bfloat16",
    "avx512f": "AVX-512",
    "avx2": "AVX2",
}
UNLIMITED = 2**60  # cgroup version 1 states a number near 2^63 for "no limit"


def cpu_count() -> int:
    """Return the number of usable processors: the minimum of the machine, the CPU affinity and the container's quota; at least 1."""
    counts = [os.cpu_count() or 1]
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        counts.append(len(os.sched_getaffinity(0)))
    counts += [ceil(share) for share in _quotas()]
    return max(1, min(counts))


def processor() -> str:
    """Describe the processor by name, instruction set and usable cores, such as "AMD EPYC 7763, AVX2, 2 cores"."""
    text, cores = _text(CPUINFO), cpu_count()
    name = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    flags = re.search(r"^flags\s*:\s*(.+)$", text, re.MULTILINE)
    known = set(flags[1].split()) if flags else set()
    instructions = next((title for flag, title in INSTRUCTIONS.items() if flag in known), "")
    description = (name[1].strip() if name else "unknown processor", instructions, f"{cores} core{'s' * (cores != 1)}")
    return ", ".join(text for text in description if text)


def heed_quota() -> None:
    """Limit the threads of numerical libraries to the container's CPU quota. Must be called before these libraries are imported.

    Libraries see the machine's processors and the CPU affinity but not the quota; threads beyond the quota only wait for each other.
    """
    if any(True for _ in _quotas()) and cpu_count() < (os.cpu_count() or 1):
        os.environ.setdefault("OMP_NUM_THREADS", str(cpu_count()))


def memory_available() -> int:
    """Return the bytes that this process can still allocate: the minimum over machine, containers and `ulimit`; 0 if unknown."""
    return max(0, min([*_machine(), *_containers(), *_limits()], default=0))


def not_writable(folder: Path) -> str:
    """Explain why a folder, or its nearest existing parent, is not writable; "" if it is."""
    existing = next((place for place in (folder, *folder.absolute().parents) if place.exists()), folder)
    try:
        with tempfile.TemporaryFile(dir=existing):
            return ""
    except OSError as error:
        return f"{existing}: cannot be written ({error.strerror or error})"


def _machine() -> Iterator[int]:
    """Bytes that the system can provide without swapping."""
    table = Path("/proc/meminfo")
    if table.is_file() and (free := re.search(r"MemAvailable:\s+(\d+)", table.read_text())):
        yield int(free[1]) * 1024
        return
    try:
        import psutil  # type: ignore[import-untyped]

        yield int(psutil.virtual_memory().available)
    except ImportError:
        names = ("SC_AVPHYS_PAGES", "SC_PAGE_SIZE")
        if all(name in os.sysconf_names for name in names):
            yield os.sysconf(names[0]) * os.sysconf(names[1])


def _containers() -> Iterator[int]:
    """Free bytes of each memory-limited control group of this process. The file cache can be reclaimed and counts as free."""
    for folder in _groups("memory"):
        for limit, used, statistics, reclaimable in (
            ("memory.max", "memory.current", "memory.stat", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat", "total_inactive_file"),
        ):
            most, now = _number(folder / limit), _number(folder / used)
            if most is None or now is None or most >= UNLIMITED:
                continue
            cache = re.search(rf"^{reclaimable} (\d+)", _text(folder / statistics), re.MULTILINE)
            yield most - now + (int(cache[1]) if cache else 0)


def _limits() -> Iterator[int]:
    """Bytes remaining under `ulimit -v` and `ulimit -d`. A process uses more address space than memory, so this is conservative."""
    try:
        import resource
    except ImportError:  # Windows
        return
    taken = re.search(r"VmSize:\s+(\d+)", _text(Path("/proc/self/status")))
    data = re.search(r"VmData:\s+(\d+)", _text(Path("/proc/self/status")))
    for kind, now in ((resource.RLIMIT_AS, taken), (resource.RLIMIT_DATA, data)):
        most = resource.getrlimit(kind)[0]
        if most != resource.RLIM_INFINITY and 0 <= most < sys.maxsize:
            yield most - (int(now[1]) * 1024 if now else 0)


def _quotas() -> Iterator[float]:
    """CPU quota of each control group of this process, in processors."""
    for folder in _groups("cpu"):
        limits = _text(folder / "cpu.max").split()
        if len(limits) == 2 and limits[0].isdigit() and limits[1].isdigit():
            yield int(limits[0]) / max(1, int(limits[1]))
        quota, period = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
        if quota is not None and quota > 0 and period:
            yield quota / period


def _groups(controller: str) -> Iterator[Path]:
    """Folders of this process's control groups, from the innermost up to the root.

    Inside a container the path in /proc often does not exist, because only the container's subtree is mounted as the root.
    """
    seen = set()
    for line in _text(Path("/proc/self/cgroup")).splitlines():
        number, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if number == "0" and not names:
            base = next((root for root in (CGROUPS, CGROUPS / "unified") if (root / "cgroup.controllers").is_file()), CGROUPS)
        elif controller in names.split(","):
            base = next((root for root in (CGROUPS / controller, CGROUPS / names) if root.is_dir()), CGROUPS / controller)
        else:
            continue
        innermost = base / path.lstrip("/")
        for folder in (innermost, *innermost.parents):
            if folder.is_relative_to(base) and folder not in seen and ".." not in folder.parts:
                seen.add(folder)
                yield folder


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if re.fullmatch(r"-?\d+", text) else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
