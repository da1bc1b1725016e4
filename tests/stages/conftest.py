"""One tiny workspace for all tests of stages: two sites of tubes in noise, split, cut, nothing recorded."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from angiosynth.stages import scans, selection
from angiosynth.stages.workspace import Workspace
from tests.factories import make_cohort, tiny_settings

SETTINGS = tiny_settings(cohort__site_a="lab/a", cohort__site_b="lab/b", transfer__patients=[1, 2])


@pytest.fixture(scope="session")
def _prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("workspace")
    make_cohort(folder / "lab" / "a", 4, (32, 36, 4), seed=1)
    make_cohort(folder / "lab" / "b", 4, (32, 36, 4), seed=2)
    patch = pytest.MonkeyPatch()
    patch.chdir(folder)
    scans.cohort(SETTINGS, Workspace())
    scans.patches(SETTINGS, Workspace())
    selection.select_unet(SETTINGS, Workspace())
    patch.undo()
    return folder


@pytest.fixture
def home(_prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A copy of it, as the working folder."""
    shutil.copytree(_prepared, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("ANGIOSYNTH_TRACKING", "off")
    monkeypatch.delenv("DVC_ROOT", raising=False)
    return Workspace()
