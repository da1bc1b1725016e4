"""A file of DVC's that a kill has damaged is repaired; a whole one, and one that DVC is writing, are left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from angiosynth.project import dvc_files
from angiosynth.project.dvc_files import ASIDE, GUARDS, LOCK, RECORD, damaged_files, repair

WHOLE = {
    RECORD: '{"write": {}, "read": {"/data/patches": [{"pid": 7, "cmd": "dvc repro"}]}}',
    LOCK: "schema: '2.0'\nstages:\n  worth:\n    cmd: python cli.py worth\n",
}
every_file = pytest.mark.parametrize("path", WHOLE, ids=str)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / RECORD).parent.mkdir(parents=True)
    return tmp_path


def test_whole_files_and_missing_ones_are_left(project: Path) -> None:
    assert repair(project) == []
    for path, content in WHOLE.items():
        (project / path).write_text(content)
    assert repair(project) == []
    assert {path: (project / path).read_text() for path in WHOLE} == WHOLE


@every_file
@pytest.mark.parametrize("length", [0, 1, 40, -1])
def test_a_file_that_is_cut_off_is_repaired(path: Path, length: int, project: Path) -> None:
    (project / path).write_text(WHOLE[path][:length])
    assert damaged_files(project) == [path]
    assert repair(project) == [path]
    assert not (project / path).exists()
    assert (project / ASIDE).exists() is (path == LOCK)


def test_marks_of_a_merge_conflict_are_for_the_user(project: Path) -> None:
    (project / LOCK).write_text(f"<<<<<<< HEAD\n{WHOLE[LOCK]}=======\n>>>>>>> other\n")
    assert repair(project) == []


@every_file
def test_a_file_that_dvc_is_writing_is_left(path: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dvc import lock

    monkeypatch.setattr(lock, "DEFAULT_TIMEOUT", 0)
    (project / path).write_text("")
    guard = project / GUARDS[path]
    with lock.make_lock(str(guard), tmp_dir=str(guard.parent)):
        assert repair(project) == []
    assert (project / path).read_text() == ""


def test_a_file_that_was_completed_meanwhile_is_left(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / LOCK).write_text(WHOLE[LOCK])
    answers = iter([[LOCK], []])
    monkeypatch.setattr(dvc_files, "damaged_files", lambda _: next(answers))
    assert repair(project) == []
    assert (project / LOCK).read_text() == WHOLE[LOCK]


@pytest.fixture
def zombie() -> Iterator[int]:
    """The id of a process that was killed and that its parent has not waited for."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    yield process.pid
    process.communicate()


def named(project: Path, *numbers: int, written: float | None = None) -> None:
    """An `rwlock` in which processes read and write."""
    entries = [{"pid": number, "cmd": "dvc repro"} for number in numbers]
    (project / RECORD).write_text(json.dumps({"read": {"/data": entries}, "write": {"/models": entries[0]}}))
    if written is not None:
        os.utime(project / RECORD, (written, written))


@pytest.mark.skipif(not hasattr(os, "waitid"), reason="needs a system with zombies")
def test_a_killed_process_that_nobody_waits_for_blocks_nothing(project: Path, zombie: int) -> None:
    named(project, zombie, 2**22 + 1)  # the second is above the highest id of Linux
    assert repair(project) == [RECORD]
    assert not (project / RECORD).exists()


def test_an_id_that_another_program_has_since_blocks_nothing(project: Path) -> None:
    named(project, os.getpid(), written=time.time() - 86_400)  # this test's process began later
    assert repair(project) == [RECORD]


@pytest.mark.skipif(not hasattr(os, "waitid"), reason="needs a system with zombies")
def test_a_running_process_keeps_its_files(project: Path, zombie: int) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as running:
        named(project, zombie, running.pid, written=time.time() + 5)
        assert repair(project) == []
        assert (project / RECORD).exists()
        running.send_signal(signal.SIGTERM)


def test_an_unknown_form_and_ids_of_nobody_are_left_to_dvc(project: Path) -> None:
    (project / RECORD).write_text('{"read": [], "write": {}}')
    assert repair(project) == []
    named(project, 2**22 + 1)
    assert repair(project) == []
