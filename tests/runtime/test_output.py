"""Nothing half-written."""

from __future__ import annotations

import errno
import math
import os
import stat
from collections.abc import Iterator
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


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(params=[0o022, 0o002, 0o027, 0o077, 0o000], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


# Neighbours: nothing there before, what was the owner's alone, the group's too, read-only as DVC protects its outputs, open to all.
@pytest.mark.parametrize("before", [None, 0o600, 0o640, 0o444, 0o666])
def test_what_is_written_is_for_its_user_alone_whatever_umask_and_mode_before(tmp_path: Path, umask: int, before: int | None) -> None:
    del umask
    file, folder = tmp_path / "a.txt", tmp_path / "set"
    if before is not None:
        file.touch()
        file.chmod(before)
        folder.mkdir()
        folder.chmod(before | (before & 0o444) >> 2)
    with whole_file(file) as temporary:
        assert _mode(temporary) == 0o600
    with whole_folder(folder) as temporary:
        assert _mode(temporary) == 0o700
        (temporary / "b.txt").touch()
    assert _mode(file) == 0o600
    assert _mode(folder) == 0o700


@pytest.mark.parametrize("before", [0o600, 0o640, 0o644, 0o664, 0o444])
def test_what_holds_no_patient_keeps_its_mode(tmp_path: Path, umask: int, before: int) -> None:
    del umask
    file = tmp_path / "params.yaml"
    file.touch()
    file.chmod(before)
    with whole_file(file, as_before=True):
        pass
    assert _mode(file) == before | 0o600


def test_a_link_to_a_folder_is_followed(tmp_path: Path) -> None:
    (tmp_path / "disk" / "real").mkdir(parents=True)
    (tmp_path / "disk" / "real" / "old.txt").touch()
    (tmp_path / "link").symlink_to("disk/real")
    (tmp_path / "above").symlink_to("disk")
    for path, name in ((tmp_path / "link", "a.txt"), (tmp_path / "above" / "real", "b.txt")):
        with whole_folder(path) as temporary:
            (temporary / name).touch()
        assert path.resolve() == tmp_path / "disk" / "real"
        assert _names(tmp_path / "disk" / "real") == [name]
    assert (tmp_path / "link").is_symlink()
    assert _names(tmp_path) == ["above", "disk", "link"]


# Neighbours: a link to nothing, to a file, to itself; a file, a folder, a file above, a link to nothing above.
@pytest.mark.parametrize(
    ("kind", "name", "line"),
    [
        (whole_folder, "dangling", "is a link to nowhere, where no folder is"),
        (whole_folder, "to-file", "is a link to file, where no folder is"),
        (whole_folder, "circle", "is a link to circle, where no folder is"),
        (whole_folder, "file", "cannot be written (Not a directory); a file lies where a folder should be"),
        (whole_file, "folder", "cannot be written (Is a directory); a folder lies there"),
        (whole_folder, "file/below", "cannot be written (File exists); something lies there already"),
        (whole_file, "file/deep/below", "cannot be written (Not a directory); a file lies where a folder should be"),
        (whole_file, "dangling/below", "cannot be written (File exists); something lies there already"),
        (whole_file, "n" * 256, "cannot be written (File name too long); shorten its name"),
        (whole_folder, "n" * 256, "(File name too long); shorten its name"),
    ],
)
def test_what_lies_in_the_way_is_one_line(tmp_path: Path, kind: Any, name: str, line: str) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    for link, target in (("dangling", "nowhere"), ("to-file", "file"), ("circle", "circle")):
        (tmp_path / link).symlink_to(target)
    before = _names(tmp_path)
    with pytest.raises(InputError) as caught, kind(tmp_path / name):
        pytest.fail("nothing is to be computed for it")
    assert str(caught.value).startswith(f"{tmp_path / name}: ")
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)
    assert _names(tmp_path) == before
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("kind", [whole_file, whole_folder])
def test_a_fault_of_another_file_names_that_file(tmp_path: Path, kind: Any) -> None:
    with pytest.raises(InputError) as caught, kind(tmp_path / "out"):
        (tmp_path / "scan.nii.gz").read_bytes()
    assert str(caught.value) == f"{tmp_path / 'scan.nii.gz'}: No such file or directory; put it there or mend its name, then run again"


def test_names_of_temporaries_are_in_no_message(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught, whole_folder(tmp_path / "set") as temporary:
        (temporary / "a" / "b.txt").write_text("")
    assert str(caught.value).startswith(f"{tmp_path / 'set'}: cannot be written")
    with pytest.raises(InputError) as caught, whole_folder(tmp_path / "set") as temporary, whole_file(temporary / "b.json"):
        raise FULL
    assert str(caught.value).startswith(f"{tmp_path / 'set' / 'b.json'}: cannot be written")
