"""Which `python` a typed command and a stage find."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from angiosynth.runtime.programs import own_programs, path_has_own_python, path_with_own_programs


def test_own_programs_come_first() -> None:
    assert path_with_own_programs({"PATH": "/a:/b"}) == f"{Path(sys.executable).parent}:/a:/b"
    assert path_with_own_programs({}) == f"{Path(sys.executable).parent}:{os.defpath}"


def test_another_python_on_the_path_is_not_this_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not path_has_own_python()
    (tmp_path / "python").write_text("#!/bin/sh\n")
    (tmp_path / "python").chmod(0o700)
    assert not path_has_own_python()
    environment = tmp_path / "environment" / "bin"
    environment.mkdir(parents=True)
    (environment / "python").symlink_to(sys.executable)
    monkeypatch.setattr(sys, "executable", str(environment / "python"))
    assert not path_has_own_python()
    monkeypatch.setenv("PATH", f"{own_programs()}:{tmp_path}")
    assert path_has_own_python()
