"""The benchmark of scans in memory and on disk reads the same voxels both ways."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks.validation_memory import WAYS, main
from tests.factories import make_cohort


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_both_ways_read_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = make_cohort(tmp_path / "lab", 2)
    for way in WAYS:
        main([str(folder), "--only", way])
    held, mapped = (json.loads(text) for text in capsys.readouterr().out.splitlines())
    assert (held["scans"], held["shape"]) == (mapped["scans"], mapped["shape"]) == (2, [40, 44, 6])
    assert held["sum"] == mapped["sum"] != 0
    assert [path for path in tmp_path.rglob("*") if path.is_file() and folder not in path.parents] == []
