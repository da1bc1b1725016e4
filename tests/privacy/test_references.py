"""References come back as they were computed, to the bit, and only for what they were computed from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from angiosynth.errors import InputError
from angiosynth.privacy.references import ARRAYS, VALUES, References

RNG = np.random.default_rng(0)
TREES: dict[str, dict[str, Any]] = {
    "features": {"training": RNG.normal(size=(5, 3)), "test": RNG.normal(size=(0, 3))},
    "near": {"distance": RNG.normal(size=4).astype(np.float32), "row": np.arange(4)},
    "numbers": {"share": 0.1 + 0.2, "least": 5e-324, "first": True, "none": None, "rows": [1, 2], "inner": {"p": 1.0 / 3.0}},
}


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, np.ndarray):
        return bool(one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes())
    return type(one) is type(other) and bool(one == other)


def _never() -> dict[str, Any]:
    raise AssertionError("it is known")


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    references = References()
    for name, tree in TREES.items():
        assert references.get(name, lambda tree=tree: tree) is tree  # type: ignore[misc]
    references.save(tmp_path, "key")
    return tmp_path


def test_what_was_saved_is_loaded_to_the_bit(saved: Path) -> None:
    loaded = References.load(saved, "key")
    assert loaded is not None
    assert all(_same(loaded.get(name, _never), tree) for name, tree in TREES.items())
    assert not _same(TREES["near"], {**TREES["near"], "row": np.arange(4, dtype=np.int32)})  # the comparison can fail


def test_a_name_is_computed_once() -> None:
    references, calls = References(), []
    for _ in range(2):
        assert references.get("one", lambda: calls.append(1) or {"n": len(calls)}) == {"n": 1}  # type: ignore[func-returns-value]


def test_what_was_computed_from_something_else_is_not_taken(saved: Path, tmp_path: Path) -> None:
    assert References.load(saved, "other") is None
    assert References.load(tmp_path / "nowhere", "key") is None


@pytest.mark.parametrize("name", [VALUES, ARRAYS])
@pytest.mark.parametrize("content", [b"", b"{}", b"[1]"], ids=["empty", "mapping", "list"])
def test_a_damaged_file_is_said_to_be(saved: Path, name: str, content: bytes) -> None:
    (saved / name).write_bytes(content)
    with pytest.raises(InputError, match="references"):
        References.load(saved, "key")
