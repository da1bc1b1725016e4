"""Data that tests find outside the repository, and skip without; and the pipeline's run, which takes longest."""

from __future__ import annotations

import fcntl
import gc
import importlib
import json
import os
import shutil
import sqlite3
import sqlite3.dbapi2
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from angiosynth.runtime.memory import collect_garbage_seldom

# Scans are patients: a test never reports home, and never writes into a tracking store of the user's.
os.environ.setdefault("DVC_NO_ANALYTICS", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
for _name in ("MLFLOW_TRACKING_URI", "ANGIOSYNTH_STUDIES"):
    os.environ.pop(_name, None)
os.environ.setdefault("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "false")  # on a slow day a run lasts until the first sample
# Networks in tests are tiny: more threads only get into each other's way, and into the pipeline's, which runs beside them.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Otherwise each of the many processes that tests start would compile the project anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# A flush that waits for the disk guards against a loss of power, which no test can see; on a busy machine each takes ten milliseconds.
os.fsync = lambda fd: None
_connect = sqlite3.connect


def _connect_without_flushes(*arguments: Any, **options: Any) -> sqlite3.Connection:
    connection: sqlite3.Connection = _connect(*arguments, **options)
    with suppress(sqlite3.Error):  # locked, or no database: what uses the connection finds it out
        connection.execute("PRAGMA busy_timeout = 0")
        connection.execute("PRAGMA synchronous = OFF")
    connection.execute(f"PRAGMA busy_timeout = {round(1000 * options.get('timeout', 5.0))}")
    return connection


sqlite3.connect = sqlite3.dbapi2.connect = _connect_without_flushes  # type: ignore[assignment]

ROOT = Path(__file__).resolve().parents[1]
# Fixture -> the module whose build() makes its folder: minutes in processes of its own, so it runs beside the other tests.
BUILDERS = {"reproduced": "tests.test_pipeline", "dvc_lab": "tests.test_dvc"}
BUILDS = pytest.StashKey[Path]()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Name one folder of builds for all workers of pytest-xdist."""
    node.workerinput["builds"] = str(_builds(node.config))


def pytest_unconfigure(config: pytest.Config) -> None:
    if BUILDS in config.stash and not hasattr(config, "workerinput"):
        shutil.rmtree(config.stash[BUILDS], ignore_errors=True)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Search for no garbage while test files are imported, and later seldom, and not among what they import: torch, SciPy, MLflow."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        collect_garbage_seldom()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that wait come first, while builds use the time; files whose tests use a build come last. Workers take file by file."""
    last = {item.path for item in items if _build_of(item)}
    first = {item.path for item in items if item.get_closest_marker("waits")} - last
    items.sort(key=lambda item: (item.path in last, item.path not in first))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Start the builds that tests ask for: in the only process, or in the first of several."""
    worker = getattr(session.config, "workerinput", {"workerid": "gw0"})["workerid"]
    names = [name for name in BUILDERS if any(_build_of(item) == name for item in session.items)]
    if names and worker == "gw0" and not session.config.option.collectonly:
        for name in names:
            threading.Thread(target=_build, args=(_builds(session.config), name), daemon=True).start()


def _build_of(item: pytest.Item) -> str | None:
    return next((name for name in BUILDERS if name in getattr(item, "fixturenames", ())), None)


def _builds(config: pytest.Config) -> Path:
    """The folder of builds; a worker's is its controller's."""
    if BUILDS not in config.stash:
        shared = getattr(config, "workerinput", {}).get("builds")
        config.stash[BUILDS] = Path(shared or tempfile.mkdtemp(prefix="angiosynth-builds-"))
    return config.stash[BUILDS]


def _build(folder: Path, name: str) -> None:
    if sys.platform == "linux":  # where a priority is a thread's, and its processes have it
        # They take what the workers leave while these wait.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 5)
    (home := folder / name).mkdir()
    try:
        outcome = {"path": str(importlib.import_module(BUILDERS[name]).build(home))}
    except BaseException as error:
        outcome = {"error": f"{type(error).__name__}: {error}"}
    (folder / f"{name}.tmp").write_text(json.dumps(outcome))
    (folder / f"{name}.tmp").rename(folder / f"{name}.json")


def _wait_for(name: str, config: pytest.Config) -> Path:
    outcome = _builds(config) / f"{name}.json"
    end = time.monotonic() + 1800
    while not outcome.exists():
        assert time.monotonic() < end, f"{name} was not built in half an hour"
        time.sleep(0.1)
    facts = json.loads(outcome.read_text())
    assert "path" in facts, facts["error"]
    return Path(facts["path"])


@pytest.fixture(scope="session")
def reproduced(request: pytest.FixtureRequest) -> Path:
    """A copy of the repository whose tiny pipeline has run."""
    return _wait_for("reproduced", request.config)


@pytest.fixture(autouse=True)
def _one_at_a_time(request: pytest.FixtureRequest) -> Iterator[None]:
    """Keep two workers' tests from changing one build at the same time; those marked `copied` work on a copy of their own."""
    build = _build_of(request.node)
    if build is None or request.node.get_closest_marker("copied"):
        yield
        return
    with _alone_with(build, request.config):
        yield


@contextmanager
def _alone_with(build: str, config: pytest.Config) -> Iterator[None]:
    with (_builds(config) / f"{build}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def copy_of_reproduced(reproduced: Path, request: pytest.FixtureRequest) -> Callable[[Path, Iterable[str]], None]:
    """Copies files and folders of the reproduced project into a folder, while no test changes them."""

    def copy(folder: Path, names: Iterable[str]) -> None:
        with _alone_with("reproduced", request.config):
            for name in names:
                source = reproduced / name
                shutil.copytree(source, folder / name) if source.is_dir() else shutil.copy(source, folder)

    return copy


@pytest.fixture(scope="session")
def dvc_lab(request: pytest.FixtureRequest) -> Path:
    """A lab's project, its scans kept by DVC with a remote beside it, as test_dvc.py makes it."""
    return _wait_for("dvc_lab", request.config)


@pytest.fixture(scope="session")
def once(request: pytest.FixtureRequest) -> Callable[[str, Callable[[Path], None]], Path]:
    """Makes a folder of a name for all workers: the first that asks makes it, the others wait. It is to be copied, never changed."""

    def made(name: str, make: Callable[[Path], None]) -> Path:
        builds = _builds(request.config)
        with (builds / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (builds / name).exists():
                shutil.rmtree(builds / f"{name}.unfinished", ignore_errors=True)
                (builds / f"{name}.unfinished").mkdir()
                make(builds / f"{name}.unfinished")
                (builds / f"{name}.unfinished").rename(builds / name)
        return builds / name

    return made


@pytest.fixture(scope="session")
def mlflow_tables(once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    """An MLflow database with its tables and no experiment, which takes MLflow seconds to make."""
    from tests.stores import write_tables

    return once("mlflow", write_tables) / "tables.db"


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
