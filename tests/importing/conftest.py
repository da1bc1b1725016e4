"""A lab's files as they come, and an empty project to bring them into, for every test of this folder that asks for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.importing.lab import make_lab


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project folder, which is the working one: an import keeps its key there."""
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


@pytest.fixture
def lab(tmp_path: Path, project: Path) -> Path:
    return make_lab(tmp_path)
