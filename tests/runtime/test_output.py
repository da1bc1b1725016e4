"""Nothing half-written."""

from __future__ import annotations

import errno
import math
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from angiosynth.errors import InputError
from angiosynth.runtime.output import read_json, whole_file, whole_folder, write_json

FULL = OSError(errno.ENOSPC, "No space left on device")


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _full(*_: Any, **__: Any) -> Any:
    raise FULL


def _write_file(path: Path, fault: BaseException | None = None) -> None:
    with whole_file(path) as temporary:
        temporary.write_text("half")
        if fault is not None:
            raise fault


def _write_folder(path: Path, fault: BaseException) -> None:
    with whole_folder(path) as temporary:
        (temporary / "new.txt").write_text("half")
        raise fault


def test_a_file_appears_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "scan.nii.gz"
    with whole_file(path) as temporary:
        temporary.write_text("new")
        assert temporary.name.endswith("scan.nii.gz")  # writers choose their format by it
        assert not path.exists()
    assert path.read_text() == "new"
    assert _names(path.parent) == ["scan.nii.gz"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_an_exception_leaves_no_trace_of_a_file(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        _write_file(tmp_path / "a.txt", ZeroDivisionError())
    assert _names(tmp_path) == []


def test_an_interrupt_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt):
        _write_file(path, KeyboardInterrupt())
    assert path.read_text() == "old"
    assert _names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("call", ["fsync", "replace", "write"])
def test_a_full_disk_keeps_the_old_file_and_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    if call == "fsync":
        monkeypatch.setattr(os, "fsync", _full)
    if call == "replace":
        monkeypatch.setattr(Path, "replace", _full)
    with pytest.raises(InputError, match=r"a\.txt: cannot be written \(No space left on device\); free some space") as caught:
        _write_file(path, FULL if call == "write" else None)
    monkeypatch.undo()
    assert "\n" not in str(caught.value)
    assert path.read_text() == "old"
    assert _names(tmp_path) == ["a.txt"]


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for kind in (whole_file, whole_folder):
        with pytest.raises(InputError, match="cannot be written"), kind(tmp_path / "file" / "below"):
            pass


def test_a_folder_appears_whole_and_replaces_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "set"
    path.mkdir()
    (path / "old.txt").write_text("old")
    with whole_folder(path) as temporary:
        (temporary / "new.txt").write_text("new")
        assert _names(path) == ["old.txt"]
    assert _names(path) == ["new.txt"]
    assert _names(tmp_path) == ["set"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o755


@pytest.mark.parametrize("fault", [ZeroDivisionError(), KeyboardInterrupt()], ids=["error", "interrupt"])
def test_an_exception_leaves_the_old_folder(tmp_path: Path, fault: BaseException) -> None:
    path = tmp_path / "set"
    path.mkdir()
    (path / "old.txt").write_text("old")
    with pytest.raises(type(fault)):
        _write_folder(path, fault)
    assert _names(path) == ["old.txt"]
    assert _names(tmp_path) == ["set"]


def test_a_full_disk_keeps_the_old_folder_and_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "set"
    path.mkdir()
    (path / "old.txt").write_text("old")
    with pytest.raises(InputError, match=r"set: cannot be written \(No space left on device\)"):
        _write_folder(path, FULL)
    assert _names(path) == ["old.txt"]
    assert _names(tmp_path) == ["set"]


def test_an_input_error_passes_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^mine$"), whole_folder(tmp_path / "set"):
        raise InputError("mine")


def test_json_is_sorted_and_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"b": [1, 2.5], "a": None, "ü": "ß"})
    assert path.read_text().index('"a"') < path.read_text().index('"b"')
    assert path.read_text().endswith("}\n")
    assert read_json(path) == {"a": None, "b": [1, 2.5], "ü": "ß"}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_json_refuses_what_is_no_number(tmp_path: Path, value: float) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"dsc": 0.5})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"dsc": value})
    assert read_json(path) == {"dsc": 0.5}
    assert _names(tmp_path) == ["a.json"]


@pytest.mark.parametrize("content", [None, b"", b"{", b"\xff\xfe"])
def test_json_that_cannot_be_read_is_one_line(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.json: missing or damaged; run `dvc repro`"):
        read_json(path)
