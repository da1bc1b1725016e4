"""The fuzzer for a moment, and that it finds what it looks for. For ten minutes: python tests/security/fuzz.py --minutes 10."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from angiosynth.errors import InputError
from tests.security import fuzz

MOST = 25  # inputs of each target


def test_broken_files_are_refused_by_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = fuzz.targets()
    monkeypatch.setattr(fuzz, "targets", lambda: known)
    assert set(known) == set(fuzz.NAMES)
    found = {name: fuzz.child(name, 1, 0, 60.0, MOST, tmp_path / "number") for name in fuzz.NAMES}
    assert [failure for answer in found.values() for failure in answer["failures"]] == []
    assert all(answer["inputs"] == MOST and answer["refused"] > MOST // 3 for answer in found.values())


def _raises(error: BaseException) -> Callable[[Path], object]:
    def read(folder: Path) -> object:
        if (folder / "params.yaml").read_bytes() == b"broken":
            raise error
        return None

    return read


def _waits(folder: Path) -> None:
    if (folder / "params.yaml").read_bytes() == b"broken":
        time.sleep(60)


PLANTED: dict[str, tuple[Callable[[Path], object], str]] = {
    "a traceback": (_raises(KeyError("width")), "KeyError"),
    "two lines": (_raises(InputError("a", "b")), "message of 5"),
    "no line": (_raises(InputError("")), "message of 0"),
    "deep": (_raises(RecursionError("deep")), "RecursionError"),
    "an exit": (_raises(SystemExit(1)), "SystemExit"),
    "a hang": (_waits, "TimeoutError"),
}


@pytest.mark.parametrize(("read", "error"), PLANTED.values(), ids=PLANTED)
def test_a_planted_fault_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Callable[[Path], object], error: str) -> None:
    def broken(data: bytes, rng: random.Random) -> bytes:
        return b"broken"

    monkeypatch.setattr(fuzz, "SLOWEST_S", 1)
    monkeypatch.setattr(fuzz, "targets", lambda: {"planted": fuzz.Target({"params.yaml": broken}, read)})
    (failure,) = fuzz.child("planted", 1, 7, 60.0, 1, tmp_path / "number")["failures"]
    assert error in failure["error"]
    assert (failure["target"], failure["number"], failure["file"]) == ("planted", 7, "params.yaml")
