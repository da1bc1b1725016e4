"""Data that tests find outside the repository, and skip without."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Scans are patients: a test never reports home, and never writes into a tracking store of the user's.
os.environ.setdefault("DVC_NO_ANALYTICS", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.pop("MLFLOW_TRACKING_URI", None)

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def realdata() -> Path:
    """A folder of BIDS datasets of real scans: ANGIOSYNTH_REALDATA or ../shared/realdata. Read only."""
    return _outside("ANGIOSYNTH_REALDATA", ROOT.parent / "shared" / "realdata")


@pytest.fixture(scope="session")
def golden() -> Path:
    """A folder of mask pairs with the distances other programs give: ANGIOSYNTH_GOLDEN or ../shared/golden. Read only."""
    return _outside("ANGIOSYNTH_GOLDEN", ROOT.parent / "shared" / "golden")


def _outside(variable: str, beside: Path) -> Path:
    folder = Path(os.environ.get(variable) or beside)
    if not folder.is_dir():
        pytest.skip(f"no {folder.name} here: name its folder in {variable}")
    return folder
