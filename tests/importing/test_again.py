"""A scan that is imported again under the name of an earlier one: other content is said, the same content packed anew is not."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

from tests.factories import affine_of, make_arrays
from tests.importing.lab import BRAIN, LABEL, SCAN2, SHAPE, call_import, save


def _again(lab: Path, tmp_path: Path) -> str:
    code, output = call_import(lab, "-o", str(tmp_path / "site"), "--names", str(tmp_path / "names.csv"))
    assert code == 0, output
    return "\n".join(line for line in output.splitlines() if "last import" in line)


def test_the_same_content_is_not_said(lab: Path, tmp_path: Path) -> None:
    assert _again(lab, tmp_path) == ""
    assert _again(lab, tmp_path) == ""
    packed = lab / "scan 01.nii.gz"
    packed.write_bytes(gzip.compress(gzip.decompress(packed.read_bytes()), 1))
    (lab / "scan 01.nii.gz").rename(lab / "x.nii.gz")
    (lab / "x.nii.gz").rename(lab / "scan 01.nii.gz")
    assert _again(lab, tmp_path) == ""


def test_another_head_under_an_old_name_is_said(lab: Path, tmp_path: Path) -> None:
    assert _again(lab, tmp_path) == ""
    scan, brain, label = make_arrays(SHAPE, 40)
    for name, array in ((SCAN2, scan), (BRAIN, brain), (LABEL, label)):
        save(lab / name, array, affine_of())
    said = _again(lab, tmp_path)
    assert said == (
        "note  SCAN02.NII  scan: its file had other content at the last import; if it is another person now, rename it, "
        "so that it gets another number"
    )
    assert _again(lab, tmp_path) == ""


def test_other_values_and_another_grid_are_said(lab: Path, tmp_path: Path) -> None:
    assert _again(lab, tmp_path) == ""
    scan, brain, label = make_arrays(SHAPE, 2)
    save(lab / SCAN2, np.round(scan / 8) * 8, affine_of())
    assert "SCAN02.NII  scan: its file had other values at the last import" in _again(lab, tmp_path)
    for name, array in ((SCAN2, scan), (BRAIN, brain), (LABEL, label)):
        save(lab / name, array, affine_of((0.8, 0.9, 1.3)))
    assert "other content" in _again(lab, tmp_path)
