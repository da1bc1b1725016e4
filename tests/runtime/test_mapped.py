"""Large arrays in a file without a name: the same values, no memory, nothing left in the folder."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from angiosynth.runtime import mapped
from angiosynth.runtime.mapped import stored

SHAPE = (24, 64, 64)


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped, "LEAST_MAPPED", int(np.prod(SHAPE)))


def _pieces(count: int = 12) -> Iterator[np.ndarray]:
    for number in range(count):
        yield np.full((2, 64, 64), number, np.uint8)


@pytest.mark.usefixtures("_small")
def test_a_large_array_is_mapped_and_has_no_name(tmp_path: Path) -> None:
    tracemalloc.start()
    try:
        array = stored(_pieces(), SHAPE, tmp_path / ".work")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < np.prod(SHAPE)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    np.testing.assert_array_equal(array, np.concatenate(list(_pieces())))
    assert (type(array), array.flags.c_contiguous, array.flags.writeable) == (np.ndarray, True, False)


def test_a_small_array_writes_no_file(tmp_path: Path) -> None:
    array = stored(_pieces(), SHAPE, tmp_path / "unused")
    np.testing.assert_array_equal(array, np.concatenate(list(_pieces())))
    assert list(tmp_path.iterdir()) == []
    assert stored([], (0, 64, 64), tmp_path).shape == (0, 64, 64)


@pytest.mark.usefixtures("_small")
def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    def failing() -> Iterator[np.ndarray]:
        yield from _pieces(3)
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        stored(failing(), SHAPE, tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
