"""Validation scans on disk: the same arrays, no memory, and no name in a folder."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from angiosynth.data.intensity import Scan
from angiosynth.data.mapped_scans import mapped_scans
from tests.factories import make_scan

LARGE = (60, 64, 20)


def _scans(count: int, shape: tuple[int, int, int] = LARGE) -> Iterator[Scan]:
    for number in range(count):
        scan = make_scan(shape, number, f"sub-{number:02d}")
        yield replace(scan, image=np.asfortranarray(scan.image), brain=np.asfortranarray(scan.brain))


def test_arrays_are_what_they_were_in_value_type_and_order(tmp_path: Path) -> None:
    mapped = mapped_scans(_scans(3), tmp_path)
    for scan, one in zip(_scans(3), mapped, strict=True):
        assert (one.patient, one.spacing_mm, one.path) == (scan.patient, scan.spacing_mm, scan.path)
        for name in ("image", "brain", "label"):
            expected, array = getattr(scan, name), getattr(one, name)
            np.testing.assert_array_equal(array, expected)
            assert (array.dtype, array.strides, type(array)) == (expected.dtype, expected.strides, np.ndarray)
            assert array.ctypes.data % 64 == 0
            assert not array.flags.writeable


def test_a_scan_without_a_label_has_none_and_of_no_scans_there_are_none(tmp_path: Path) -> None:
    (scan,) = mapped_scans([replace(make_scan(), label=None)], tmp_path)
    assert scan.label is None
    assert mapped_scans([], tmp_path) == []


def _filled(number: int) -> Scan:
    image = np.full(LARGE, number, np.float32, "F")
    mask = np.ones(LARGE, np.bool_, "F")
    return Scan(f"sub-{number:02d}", image, mask, mask, (0.5, 0.5, 0.5), Path())


def test_one_scan_at_a_time_is_in_memory(tmp_path: Path) -> None:
    one = 5 * int(np.prod(LARGE))
    tracemalloc.start()
    try:
        mapped = mapped_scans(map(_filled, range(12)), tmp_path)
        lasting, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [float(scan.image.mean()) for scan in mapped] == list(range(12))
    assert lasting < one / 4
    assert peak < 2.5 * one  # the next one is loaded before the last one is forgotten


def test_no_name_is_left_in_the_folder_while_the_arrays_are_used(tmp_path: Path) -> None:
    (scan,) = mapped_scans(_scans(1), tmp_path / ".work")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert float(scan.image.max()) == float(next(_scans(1)).image.max())


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    def failing() -> Iterator[Scan]:
        yield from _scans(1)
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        mapped_scans(failing(), tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
