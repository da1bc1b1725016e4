"""The table that Anonymeter is given, by hand, and the tables of the comparison."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.anonymeter_check import KINDS, MEASURES, described, tables
from benchmarks.audit_people import as_patches


def test_a_row_of_each_patch_by_hand() -> None:
    image, label = np.full((2, 4, 4), 10, np.uint8), np.zeros((2, 4, 4), np.uint8)
    label[0, 0, :3] = 1  # a vessel of three pixels and one of one
    label[0, 3, 3] = 1
    image[0][label[0] > 0] = 50
    rows = described(as_patches(image, label, Path("no-folder")))
    assert rows == [(0.25, 2, 3, 20.0, 17.3, 50.0), (0.0, 0, 0, 10.0, 0.0, 0.0)]


def test_tables() -> None:
    risks = {kind: {"linkability": {"risk": 0.25, "low": 0.1, "high": 0.375}} for kind in KINDS}
    measures = {name: {"value": 0.5, "state": "within"} for name in MEASURES} | {"copies": {"value": 0.0123, "state": "over"}}
    lines = tables(risks, [{"kind": "noisy-0.1", "measures": measures, "set": "over"}])
    assert "| strangers | 0.25 (0.10 to 0.38) |" in lines
    assert lines[-1] == "| noisy-0.1 | 0.500 | 0.500 | 0.500 | 0.500 | 0.012 over | 0.500 | over |"
