"""Turns at a database, and one that another program holds."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy

from angiosynth.errors import InputError
from angiosynth.runtime.leftovers import clear, clear_project
from angiosynth.search.study import studies_in
from angiosynth.tracking import databases
from angiosynth.tracking.databases import alone_at, is_postgres, make_whole, sqlite_uri, wait_for
from angiosynth.tracking.opening import remote
from angiosynth.tracking.runs import ensure_store

pytestmark = pytest.mark.waits


def test_which_uris_are_postgres() -> None:
    recognized = [is_postgres(f"{scheme}://db/x") for scheme in ("postgresql", "postgres", "postgresql+psycopg", "sqlite", "http")]
    assert recognized == [True, True, True, False, False]


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgres", marks=pytest.mark.service)])
def test_one_at_a_time(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    uri = request.getfixturevalue("postgres").uris["optuna"] if kind == "postgres" else f"sqlite:///{tmp_path}/x.db"
    inside: list[str] = []
    entered = threading.Event()

    def second() -> None:
        with alone_at(uri, tmp_path / "x", "a study"):
            inside.append("second")
            entered.set()

    with alone_at(uri, tmp_path / "x", "a study"):
        other = threading.Thread(target=second)
        other.start()
        assert not entered.wait(0.3), "it waits for its turn"
        with alone_at(uri, tmp_path / "y", "another study"):
            inside.append("first")
    other.join()
    assert inside == ["first", "second"]


def _locked(path: Path) -> sqlite3.Connection:
    """Held as by another program in the middle of a change."""
    holding = sqlite3.connect(path, check_same_thread=False)
    holding.execute("begin exclusive")
    return holding


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(databases, "LOCKED_S", 2)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("name", ["mlflow.db", "optuna.db"])
def test_a_database_that_stays_locked_is_said_to_be_so(root: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Not that it be broken: nobody shall move it away."""
    (tmp_path / "mlruns").mkdir()
    path = tmp_path / "mlruns" / name
    shutil.copy(root / "fresh.db", path)
    ask: Callable[[Path], object] = ensure_store if name == "mlflow.db" else studies_in
    with closing(_locked(path)), pytest.raises(InputError) as caught:
        ask(tmp_path)
    said = str(caught.value)
    assert said.endswith(f"{name}: locked by another program for 2 s (database is locked); end that program or wait for it, then run again")
    assert f"{name}: locked by another program, waiting for it up to 2 s" in capsys.readouterr().err
    if name == "mlflow.db":
        ask(tmp_path)


def test_a_database_that_is_locked_for_a_moment_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    holding = _locked(path)
    letting_go = threading.Timer(0.7, holding.close)
    letting_go.start()
    wait_for(f"sqlite:///{path}", "x")
    letting_go.join()


@pytest.mark.parametrize("uri", ["postgresql://db/x", "http://host:5000", "sqlite://", "sqlite:///:memory:", "sqlite:///none.db", "mlruns"])
def test_what_is_no_file_yet_is_not_waited_for(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    wait_for(uri, "x")
    assert not list(tmp_path.iterdir()), "nothing is made"


def test_an_empty_file_is_a_new_database(tmp_path: Path) -> None:
    (tmp_path / "x.db").touch()
    wait_for(f"sqlite:///{tmp_path}/x.db", "x")


def test_a_folder_and_a_file_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.db").mkdir()
    with pytest.raises(InputError, match=r"MINE: x\.db is a folder and no database; move it away"):
        wait_for(f"sqlite:///{tmp_path}/x.db", "MINE")
    path = tmp_path / "y.db"
    sqlite3.connect(path).execute("create table a (b)").connection.close()
    real = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda name, **words: real(name.replace("mode=rw", "mode=ro"), **words))  # root may write all
    with pytest.raises(InputError, match=r"y\.db: cannot be written \(attempt to write a readonly database\); mend its permissions"):
        wait_for(f"sqlite:///{path}", "MINE")


@pytest.mark.parametrize("name", ["a b", "q?x=1", "h#x", "p%41x", "%", "[x]*", "new\nline", "Mu\u0308ller & 😀", "-dash", "a:b@c;d"])
def test_databases_lie_where_they_should_whatever_the_folder_is_called(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neighbours: what a URI means something by, what a shell does, what is no ASCII."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for kind in ("mlflow", "optuna"):
        path = tmp_path / name / f"{kind}.db"
        path.parent.mkdir(exist_ok=True)
        engine = sqlalchemy.create_engine(sqlite_uri(path))
        with engine.begin() as connection:
            connection.execute(sqlalchemy.text("create table t (a int)"))
        engine.dispose()
        assert path.stat().st_size > 0
    assert not remote(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(("uri", "far"), [("mlruns", False), ("./mlruns", False), ("file:///x", False), ("sqlite:///x.db", False)])
def test_a_folder_is_no_server(uri: str, far: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert remote(tmp_path) is far


def test_files_of_a_database_in_the_making_are_no_leftovers_of_a_killed_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two stages begin at once: one makes the database, whose journal lies beside it, the other removes leftovers."""
    (tmp_path / "dvc.yaml").touch()
    place = tmp_path / "mlruns" / "mlflow.db"

    def disturbed(uri: str) -> None:
        with closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as database:
            database.execute("create table runs (id)")
            database.execute("begin immediate")
            database.execute("insert into runs values (1)")
            assert list(tmp_path.rglob("*-journal"))
            clear_project(tmp_path)
            clear(place)
            database.commit()

    make_whole(sqlite_uri(place), disturbed)
    assert capsys.readouterr().err == ""
    with closing(sqlite3.connect(place)) as database:
        assert database.execute("select id from runs").fetchall() == [(1,)]
    assert list(place.parent.iterdir()) == [place]
    assert place.stat().st_mode & 0o077 == 0


def test_a_database_whose_tables_were_half_made_is_none(tmp_path: Path) -> None:
    """As a kill in the middle of MLflow's or Optuna's migrations would leave it."""

    def cut_off(uri: str) -> None:
        with closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as database, database:
            database.execute("create table runs (id)")
        raise KeyboardInterrupt

    place = tmp_path / "mlflow.db"
    with pytest.raises(KeyboardInterrupt):
        make_whole(sqlite_uri(place), cut_off)
    assert list(tmp_path.iterdir()) == []
    make_whole(sqlite_uri(place), lambda uri: Path(uri.removeprefix("sqlite:///")).write_bytes(b"first"))
    make_whole(sqlite_uri(place), lambda uri: Path(uri.removeprefix("sqlite:///")).write_bytes(b"second"))
    assert place.read_bytes() == b"first"
    make_whole("postgresql://lab@localhost/mlflow", cut_off)
