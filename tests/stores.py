"""Fixtures of the tests of tracking and of search: one MLflow store for all of them, since creating one takes MLflow seconds."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from angiosynth.tracking.runs import ensure_store
from tests import servers

USERS = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "MLFLOW_DEFAULT_ARTIFACT_ROOT", "ANGIOSYNTH_STUDIES", "ANGIOSYNTH_TRACKING")


_made: list[Path] = []  # the one project, also where two folders of tests ask for it


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of a project that has a store."""
    if not _made:
        folder = tmp_path_factory.mktemp("project").resolve()
        ensure_store(folder)
        shutil.copy(folder / "mlruns" / "mlflow.db", folder / "fresh.db")
        _made.append(folder)
    return _made[0]


@pytest.fixture
def server_home(root: Path, tmp_path: Path) -> Path:
    """A folder for an MLflow server: its database is there and empty, its experiments' files go through the server."""
    home = tmp_path / "server"
    home.mkdir()
    shutil.copy(root / "fresh.db", home / "server.db")
    with closing(sqlite3.connect(home / "server.db")) as database, database:
        database.execute("update experiments set artifact_location = 'mlflow-artifacts:/' || experiment_id")
    return home


@pytest.fixture(autouse=True)
def no_store_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*USERS, "DVC_ROOT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def postgres() -> Iterator[servers.Postgres]:
    """A PostgreSQL server with the databases mlflow and optuna."""
    pytest.importorskip("psycopg", reason="no driver for PostgreSQL: pip install 'angiosynth[postgres]'")
    programs = servers.postgres_programs()
    if programs is None:
        pytest.skip("no PostgreSQL server here: initdb, pg_ctl and postgres are not found (Debian: apt install postgresql)")
    with servers.postgres(programs, ("mlflow", "optuna")) as server:
        yield server
