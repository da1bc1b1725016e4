"""A file of DVC's that is cut off is repaired; a whole one, and one that DVC is writing, are left."""

from __future__ import annotations

from pathlib import Path

import pytest

from angiosynth.project import dvc_files
from angiosynth.project.dvc_files import ASIDE, GUARDS, LOCK, RECORD, cut_off, repair

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
    assert cut_off(project) == [path]
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
    monkeypatch.setattr(dvc_files, "cut_off", lambda _: next(answers))
    assert repair(project) == []
    assert (project / LOCK).read_text() == WHOLE[LOCK]
