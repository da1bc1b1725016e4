"""The workspace of the stages' tests, for commands that stand on stages."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stages.conftest import _prepared, home, model, tried_once

__all__ = ["_prepared", "home", "model", "tried_once"]


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the repository: in a project's folder commands leave manifests."""
    monkeypatch.chdir(tmp_path)
