"""Data that tests find outside the repository, and skip without; and the pipeline's run, which takes longest."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

# Scans are patients: a test never reports home, and never writes into a tracking store of the user's.
os.environ.setdefault("DVC_NO_ANALYTICS", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
for _name in ("MLFLOW_TRACKING_URI", "ANGIOSYNTH_STUDIES"):
    os.environ.pop(_name, None)
os.environ.setdefault("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "false")  # on a slow day a run lasts until the first sample
# Networks in tests are tiny: more threads only get into each other's way, and into the pipeline's, which runs beside them.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parents[1]
PIPELINE = pytest.StashKey["Future[Path]"]()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Start the pipeline's `dvc repro`, where a test wants it: it runs in processes of its own, beside the other tests."""
    if session.config.option.collectonly or not any("project" in getattr(item, "fixturenames", ()) for item in session.items):
        return
    built: Future[Path] = Future()
    session.config.stash[PIPELINE] = built
    threading.Thread(target=_build, args=(built,), daemon=True).start()


def _build(built: Future[Path]) -> None:
    from tests.test_pipeline import build

    try:
        built.set_result(build(Path(tempfile.mkdtemp(prefix="angiosynth-pipeline-"))))
    except BaseException as error:
        built.set_exception(error)


@pytest.fixture(scope="session")
def project(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A copy of the repository whose tiny pipeline has run."""
    folder = request.config.stash[PIPELINE].result()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


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
