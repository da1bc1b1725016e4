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
BACKGROUND = pytest.StashKey[dict[str, "Future[Path]"]]()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Start what takes longest, where a test wants it: it runs in processes of its own, one after the other, beside the other tests."""
    asked = {name for item in session.items for name in getattr(item, "fixturenames", ())}
    futures: dict[str, Future[Path]] = {name: Future() for name in ("project", "dvc_lab") if name in asked}
    session.config.stash[BACKGROUND] = futures
    if futures and not session.config.option.collectonly:
        threading.Thread(target=_build, args=(futures,), daemon=True).start()


def _build(futures: dict[str, Future[Path]]) -> None:
    from tests import test_dvc, test_pipeline

    for name, future in futures.items():
        build = {"project": test_pipeline.build, "dvc_lab": test_dvc.build}[name]
        try:
            future.set_result(build(Path(tempfile.mkdtemp(prefix=f"angiosynth-{name}-"))))
        except BaseException as error:
            future.set_exception(error)


@pytest.fixture(scope="session")
def project(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A copy of the repository whose tiny pipeline has run."""
    folder = request.config.stash[BACKGROUND]["project"].result()
    yield folder
    for made in (folder, folder.with_name(f"{folder.name}-opened")):
        shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="session")
def dvc_lab(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A lab's project, its scans kept by DVC with a remote beside it, as test_dvc.py makes it."""
    folder = request.config.stash[BACKGROUND]["dvc_lab"].result()
    yield folder
    shutil.rmtree(folder.parent, ignore_errors=True)


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
