"""Half a record of DVC's is removed, a whole one and one that DVC is writing are left."""

from __future__ import annotations

from pathlib import Path

import pytest

from angiosynth.project import dvc_record
from angiosynth.project.dvc_record import GUARD, RECORD, is_broken, remove_broken

WHOLE = '{"write": {}, "read": {"/data/patches": [{"pid": 7, "cmd": "dvc repro"}]}}'


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / RECORD).parent.mkdir(parents=True)
    return tmp_path


@pytest.mark.parametrize("content", [None, WHOLE])
def test_a_whole_record_is_left(content: str | None, project: Path) -> None:
    if content is not None:
        (project / RECORD).write_text(content)
    assert not is_broken(project)
    assert not remove_broken(project)
    assert (project / RECORD).exists() is (content is not None)


@pytest.mark.parametrize("length", [0, 1, 40, len(WHOLE) - 1])
def test_half_a_record_is_removed(length: int, project: Path) -> None:
    (project / RECORD).write_text(WHOLE[:length])
    assert is_broken(project)
    assert remove_broken(project)
    assert not (project / RECORD).exists()


def test_a_record_that_dvc_is_writing_is_left(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dvc import lock

    monkeypatch.setattr(lock, "DEFAULT_TIMEOUT", 0)
    (project / RECORD).write_text("")
    with lock.make_lock(str(project / GUARD), tmp_dir=str((project / GUARD).parent)):
        assert not remove_broken(project)
    assert (project / RECORD).read_text() == ""


def test_a_record_that_was_completed_meanwhile_is_left(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / RECORD).write_text(WHOLE)
    answers = iter([True, False])
    monkeypatch.setattr(dvc_record, "is_broken", lambda _: next(answers))
    assert not remove_broken(project)
    assert (project / RECORD).exists()
