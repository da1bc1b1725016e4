"""Fixtures of the tests of tracking and of search: one MLflow store for all of them, since creating one takes MLflow seconds."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient

from angiosynth.tracking.runs import ensure_store
from tests import servers

USERS = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "MLFLOW_DEFAULT_ARTIFACT_ROOT", "ANGIOSYNTH_STUDIES", "ANGIOSYNTH_TRACKING")


_made: list[Path] = []  # the one project, also where two folders of tests ask for it


def write_tables(folder: Path) -> None:
    """An MLflow database without an experiment: the default one names the folder that it was made in."""
    MlflowClient(f"sqlite:///{folder}/tables.db").search_experiments()
    with closing(sqlite3.connect(folder / "tables.db")) as database, database:
        database.execute("delete from experiments")


def empty_store(root: Path, tables: Path) -> None:
    """Lay MLflow's tables where a project's runs go; they have no experiment yet."""
    (root / "mlruns").mkdir(mode=0o700, exist_ok=True)
    shutil.copy(tables, root / "mlruns" / "mlflow.db")


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory, mlflow_tables: Path) -> Path:
    """The root of a project that has a store."""
    if not _made:
        folder = tmp_path_factory.mktemp("project").resolve()
        empty_store(folder, mlflow_tables)
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
    pytest.importorskip("psycopg", reason="no driver for PostgreSQL: pip install '.[postgres]'")
    programs = servers.postgres_programs()
    if programs is None:
        pytest.skip("no PostgreSQL server here: initdb, pg_ctl and postgres are not found (Debian: apt install postgresql)")
    with servers.postgres(programs, ("mlflow", "optuna")) as server:
        yield server
