"""Three patients and a patch set cut from them, for tests that read them and change nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from angiosynth.data.patches import build_patches
from angiosynth.settings import IntensitySettings, PatchSettings
from tests.factories import make_cohort

SHAPE = (40, 44, 6)
NAMES = ("sub-01", "sub-02", "sub-03")
PATCHES = PatchSettings(size=16, on_vessels=30, on_bright=0, in_brain=20, seed=3)


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_cohort(tmp_path_factory.mktemp("cohort"), 3, SHAPE)


@pytest.fixture(scope="session")
def built(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("patches") / "set"
    build_patches(cohort, NAMES, PATCHES, IntensitySettings(), folder)
    return folder
