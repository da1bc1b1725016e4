"""What killed runs leave, and old folders that cannot be removed: cleared or said, never silently kept, lost or taken from a living run."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from angiosynth.errors import InputError
from angiosynth.runtime import leftovers
from angiosynth.runtime.leftovers import PARTIAL, REPLACED, abandoned, beside, claim
from angiosynth.runtime.output import whole_folder

pytestmark = pytest.mark.waits

OWN = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2] / "src")}
WRITES = """
import sys, time
from pathlib import Path
from angiosynth.runtime.output import whole_file, whole_folder
kind = whole_folder if sys.argv[1] == "folder" else whole_file
with kind(Path(sys.argv[2])) as temporary:
    (temporary / "scan.nii.gz" if temporary.is_dir() else temporary).write_text("patient")
    print("writing", flush=True)
    time.sleep(60)
"""


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _writer(kind: str, target: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", WRITES, kind, str(target)], stdout=subprocess.PIPE, text=True, env=OWN)
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    return process


def _killed(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)


def _put(path: Path, text: str = "new") -> None:
    with whole_folder(path) as temporary:
        (temporary / "a.txt").write_text(text)


def _old(path: Path) -> Path:
    (path / "deep").mkdir(parents=True)
    (path / "a.txt").write_text("old")
    (path / "deep" / "b.txt").write_text("old")
    return path


# Neighbours: a file, a folder; written anew under the same name, or something else written in the same folder.
@pytest.mark.parametrize("kind", ["file", "folder"])
@pytest.mark.parametrize("name", ["site-a", "site-b", "n" * 250])
def test_what_a_killed_run_left_is_removed_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, name: str) -> None:
    _killed(_writer(kind, tmp_path / "site-a"))
    (left,) = _names(tmp_path)
    assert left.startswith(".partial-")
    _put(tmp_path / name)
    assert _names(tmp_path) == [name]
    assert f"{tmp_path / left}: removed; an earlier run had left it" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_a_living_run_writes_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    process = _writer(kind, tmp_path / "site-a")
    try:
        (living,) = _names(tmp_path)
        _put(tmp_path / "site-a")
        assert _names(tmp_path) == [living, "site-a"]
        assert capsys.readouterr().err == ""
    finally:
        _killed(process)


# Neighbours: a folder as older versions and other programs name theirs, a link, a pipe, a file of a user's that looks alike.
def test_nothing_else_is_removed(tmp_path: Path) -> None:
    outside = _old(tmp_path / "outside")
    folder = tmp_path / "folder"
    (folder / ".partial-site-a-x2k9").mkdir(parents=True)
    (folder / ".partial-mine").write_text("user's")
    (folder / beside(folder / "site-a", PARTIAL).name).symlink_to(outside)
    os.mkfifo(folder / ".partial-pipe")
    before = _names(folder)
    _put(folder / "site-a")
    assert _names(folder) == [*before, "site-a"]
    assert _names(outside) == ["a.txt", "deep"]


def test_what_another_machine_writes_is_left_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(leftovers, "MACHINE", "0" * 8)
    elsewhere = _old(beside(tmp_path / "site-a", PARTIAL))
    monkeypatch.undo()
    _put(tmp_path / "site-a")
    assert (elsewhere / "a.txt").read_text() == "old"
    assert f"{elsewhere}: of a run on another machine" in capsys.readouterr().err


def test_on_a_disk_without_locks_leftovers_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _killed(_writer("folder", tmp_path / "site-a"))
    (left,) = _names(tmp_path)

    def unlocked(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", unlocked)
    _put(tmp_path / "site-a")
    assert _names(tmp_path) == [left, "site-a"]
    assert "not removed (No locks available); see to it by hand" in capsys.readouterr().err


def test_a_folder_that_a_killed_run_had_put_aside_comes_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "site-a"
    _old(beside(path, REPLACED))

    with pytest.raises(ZeroDivisionError), whole_folder(path):
        raise ZeroDivisionError
    assert (path / "deep" / "b.txt").read_text() == "old"
    assert _names(tmp_path) == ["site-a"]
    assert f"{path}: restored" in capsys.readouterr().err


def test_another_folder_that_was_put_aside_is_left(tmp_path: Path) -> None:
    aside = _old(beside(tmp_path / "site-b", REPLACED))
    _put(tmp_path / "site-a")
    assert _names(tmp_path) == [aside.name, "site-a"]


# Neighbours: the first file cannot be removed, a later one cannot, the folder itself cannot; each with what systems say then.
@pytest.mark.parametrize("code", [errno.EPERM, errno.EACCES, errno.EROFS, errno.EBUSY, errno.EIO])
@pytest.mark.parametrize("name", ["a.txt", "b.txt", "deep"])
def test_an_old_folder_that_cannot_be_removed_does_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], code: int, name: str
) -> None:
    path = _old(tmp_path / "site-a")
    for call in ("unlink", "rmdir"):
        monkeypatch.setattr(os, call, _refusing(getattr(os, call), name, code))
    _put(path)
    said = capsys.readouterr().err
    monkeypatch.undo()
    assert (path / "a.txt").read_text() == "new"
    (aside,) = (other for other in _names(tmp_path) if other != "site-a")
    assert f"{path}: is the new one; the old one cannot be removed ({os.strerror(code)}), what is left lies in {tmp_path / aside}" in said
    _put(path, "newer")  # and the next one clears it
    assert _names(tmp_path) == ["site-a"]
    assert (path / "a.txt").read_text() == "newer"


def _refusing(call: Any, name: str, code: int) -> Any:
    def refuse(path: Any, *words: Any, **named: Any) -> Any:
        if os.path.basename(os.fspath(path)) == name:
            raise OSError(code, os.strerror(code), os.fspath(path))
        return call(path, *words, **named)

    return refuse


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("chattr"), reason="chattr +i asks for root")
def test_an_immutable_file_in_the_old_folder(tmp_path: Path) -> None:
    path = _old(tmp_path / "site-a")
    if subprocess.run(["chattr", "+i", path / "deep" / "b.txt"], capture_output=True, check=False).returncode:
        pytest.skip("this disk has no attributes")
    try:
        _put(path)
        assert _names(path) == ["a.txt"]
    finally:
        subprocess.run(["chattr", "-R", "-i", tmp_path], check=True)


# Neighbours: the old one cannot be put aside, the new one cannot be put in its place; an error, an interrupt.
@pytest.mark.parametrize("fault", [OSError(errno.EBUSY, os.strerror(errno.EBUSY)), KeyboardInterrupt()], ids=["error", "interrupt"])
@pytest.mark.parametrize("step", [1, 2])
def test_a_fault_between_the_renames_keeps_the_old_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: BaseException, step: int
) -> None:
    path = _old(tmp_path / "site-a")
    renames = [0]
    rename = Path.rename

    def failing(source: Path, target: Any) -> Path:
        if REPLACED in str(target) or Path(target) == path:
            renames[0] += 1
            if renames[0] == step:
                raise fault
        return rename(source, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises((InputError, KeyboardInterrupt)):
        _put(path)
    monkeypatch.undo()
    assert (path / "a.txt").read_text() == "old"
    assert (path / "deep" / "b.txt").read_text() == "old"
    assert _names(tmp_path) == ["site-a"]


@pytest.mark.parametrize("removable", [True, False])
def test_a_disk_that_cannot_rename_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, removable: bool) -> None:
    path = _old(tmp_path / "site-a")
    rename = Path.rename

    def layered(source: Path, target: Any) -> Path:
        if source == path:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), str(source))
        return rename(source, target)

    monkeypatch.setattr(Path, "rename", layered)
    if not removable:
        monkeypatch.setattr(os, "rmdir", _refusing(os.rmdir, "site-a", errno.EPERM))
        with pytest.raises(InputError, match="site-a: cannot be written"):
            _put(path)
    else:
        _put(path)
    assert (path / "a.txt").read_text() == ("new" if removable else "old")
    assert (path / "deep" / "b.txt").exists() is not removable
    assert _names(tmp_path) == ["site-a"]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting asks for root")
def test_a_mount_point_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    path, other = _old(tmp_path / "site a"), _old(tmp_path / "other")
    if subprocess.run(["mount", "--bind", other, path], capture_output=True, check=False).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        with pytest.raises(InputError, match="site a: something is mounted there"), whole_folder(path):
            pytest.fail("nothing is to be computed for it")
    finally:
        subprocess.run(["umount", path], check=True)
    assert _names(tmp_path) == ["other", "site a"]


def test_two_runs_that_write_the_same_end_with_one_of_them_whole(tmp_path: Path) -> None:
    path = tmp_path / "site-a"
    code = (
        "import sys; from pathlib import Path; from angiosynth.runtime.output import whole_folder\n"
        "for turn in range(40):\n"
        "    with whole_folder(Path(sys.argv[1])) as folder: [(folder / str(n)).write_text(sys.argv[2]) for n in range(20)]"
    )
    runs = [
        subprocess.Popen([sys.executable, "-c", code, str(path), word], stderr=subprocess.PIPE, text=True, env=OWN) for word in ("x", "y")
    ]
    said = [run.communicate(timeout=60)[1] for run in runs]
    assert len({(path / str(n)).read_text() for n in range(20)}) == 1, said
    _put(path)  # where both put the old one aside in the same moment, one of them has left it to the next
    assert _names(tmp_path) == ["site-a"]
    assert not [text for text in said if "Traceback" in text and "InputError" not in text], said


def _left(target: Path) -> Path:
    """As after a kill: the kernel has let go of the lock."""
    path, handle = claim(target, folder=True)
    assert handle is not None
    os.close(handle)
    return path


def test_what_killed_runs_left_is_listed_and_what_living_ones_write_is_not(tmp_path: Path) -> None:
    (tmp_path / "data" / "raw").mkdir(parents=True)
    left = _left(tmp_path / "data" / "raw" / "site-a")
    assert abandoned(tmp_path) == [left]
    with whole_folder(tmp_path / "models" / "gan" / "x"):
        assert abandoned(tmp_path) == [left]
    (tmp_path / ".partial-notes").touch()
    assert abandoned(tmp_path) == [left]
