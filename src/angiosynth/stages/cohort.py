"""Stage cohort: check all patients, and split them into training, validation and test."""

from __future__ import annotations

from angiosynth.data.cohort import build_cohort
from angiosynth.project.preflight import preflight
from angiosynth.project.workspace import Workspace
from angiosynth.settings import Settings


def cohort(settings: Settings, home: Workspace, only: str | None = None) -> None:
    """Check and split the patients of all sites, or of one, after checking that all settings can be trained on this machine."""
    preflight(settings, home)
    build_cohort(settings.cohort, home.splits, home.data_root / "data" / "cohort", only)
