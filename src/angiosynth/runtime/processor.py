"""Name the processor and the widest instructions that it multiplies matrices with."""

from __future__ import annotations

import re
from pathlib import Path

from angiosynth.runtime.machine import cpu_count

CPUINFO = Path("/proc/cpuinfo")
# Flags in /proc/cpuinfo, the fastest first. These classes round differently, and differ severalfold in speed.
CLASSES = {
    "amx_bf16": "AMX bfloat16",
    "avx512_bf16": "AVX-512 bfloat16",
    "avx512f": "AVX-512",
    "avx2": "AVX2",
}


def processor() -> str:
    """Such as "AMD EPYC 7763, AVX2, 2 cores"; cores are those that this process may use."""
    try:
        text = CPUINFO.read_text(encoding="utf-8", errors="replace")
    except OSError:  # not Linux
        text = ""
    name = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    flags = re.search(r"^flags\s*:\s*(.+)$", text, re.MULTILINE)
    known = set(flags[1].split()) if flags else set()
    instructions = next((title for flag, title in CLASSES.items() if flag in known), "")
    cores = cpu_count()
    parts = (name[1].strip() if name else "unknown processor", instructions, f"{cores} core{'s' * (cores != 1)}")
    return ", ".join(part for part in parts if part)
