"""A processor is named with the class of its instructions, by which it rounds."""

from __future__ import annotations

from pathlib import Path

import pytest

from angiosynth.runtime import processor as module
from angiosynth.runtime.processor import processor


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
    monkeypatch.setattr(module, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(module, "cpu_count", lambda: 2)
    assert processor() == f"ACME 7, {title}2 cores"


def test_a_system_that_names_none_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CPUINFO", tmp_path / "missing")
    monkeypatch.setattr(module, "cpu_count", lambda: 1)
    assert processor() == "unknown processor, 1 core"
