"""Two results folders are compared by what they hold; each kind of difference is seen."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from benchmarks.same_results import compare_results

FILES: dict[str, bytes] = {
    "metrics/patients/real.csv": b"patient,dsc\nsub-001,0.5\n",
    "metrics/evaluation.json": b'{"real": {"dsc": 0.5, "seeds": [1, 2]}}',
    "models/gan/a/generator.pt": b"weights",
    "predictions/real/sub-001.nii.gz": gzip.compress(b"voxels", mtime=0),
    "audit/a/gallery.png": b"a figure",
}


def _project(folder: Path, **changes: bytes | None) -> Path:
    for name, content in ({**FILES, **changes}).items():
        if content is not None:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
    return folder


def test_values_count_not_their_form(tmp_path: Path) -> None:
    form = {
        "metrics/evaluation.json": b'{"real":{"seeds":[1,2],"dsc":0.50}}',
        "predictions/real/sub-001.nii.gz": gzip.compress(b"voxels", 1, mtime=5),
        "audit/a/gallery.png": b"drawn by another version",
        "metrics/patients/real.csv": b"patient,dsc\r\nsub-001,0.5\r\n",
    }
    comparison = compare_results(_project(tmp_path / "a"), _project(tmp_path / "b", **form))
    assert not comparison.differing
    assert len(comparison.same) == len(FILES) - 1


@pytest.mark.parametrize(
    ("name", "content", "difference"),
    [
        ("metrics/patients/real.csv", b"patient,dsc\nsub-001,0.6\n", "line 2: sub-001,0.5 | sub-001,0.6"),
        ("metrics/patients/real.csv", b"patient,dsc\n", "2 lines, 1 lines"),
        ("metrics/evaluation.json", b'{"real": {"dsc": 0.5, "seeds": [1, 3]}}', "real.seeds.1: 2, 3"),
        ("metrics/evaluation.json", b'{"real": {"dsc": 0.5, "seeds": [1]}}', "real.seeds.1: 2, missing"),
        ("models/gan/a/generator.pt", b"weighty", "7 bytes, 7 bytes, from byte 6"),
        ("models/gan/a/generator.pt", b"weight", "7 bytes, 6 bytes, from byte 6"),
        ("predictions/real/sub-001.nii.gz", gzip.compress(b"voxel!", mtime=0), "6 bytes, 6 bytes, from byte 5"),
    ],
    ids=["a value", "a line", "an element", "a missing element", "a byte", "a missing byte", "a packed byte"],
)
def test_each_kind_of_difference_is_seen(tmp_path: Path, name: str, content: bytes, difference: str) -> None:
    comparison = compare_results(_project(tmp_path / "a"), _project(tmp_path / "b", **{name: content}))
    assert comparison.differing == {name: difference}


def test_what_has_moved_is_compared_and_what_is_missing_is_listed(tmp_path: Path) -> None:
    after = _project(tmp_path / "b", **{"models/gan/a/generator.pt": None, "models/generators/a/generator.pt": b"weights"})
    apart = compare_results(_project(tmp_path / "a"), after)
    assert (apart.only_before, apart.only_after) == (["models/gan/a/generator.pt"], ["models/generators/a/generator.pt"])
    moved = compare_results(tmp_path / "a", after, [("models/gan", "models/generators")])
    assert (moved.only_before, moved.only_after, moved.differing) == ([], [], {})
