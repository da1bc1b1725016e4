"""Passwords in messages, and turns at a database."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import sqlalchemy

from angiosynth.experiments.databases import alone_at, is_postgres, sqlite_uri, without_password
from angiosynth.experiments.opening import remote


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://lab:pass:word@db/optuna refused", "postgresql://lab:***@db/optuna refused"),
        ("http://lab:word@lab.example.org/api", "http://lab:***@lab.example.org/api"),
        ("postgresql://db/optuna?user=lab&password=word&x=1", "postgresql://db/optuna?user=lab&password=***&x=1"),
        ("host=db password=word dbname=optuna", "host=db password=*** dbname=optuna"),
        ("http://127.0.0.1:5000/api, user@host", "http://127.0.0.1:5000/api, user@host"),
    ],
)
def test_no_message_shows_a_password(text: str, shown: str) -> None:
    assert without_password(text) == shown


def test_which_uris_are_postgres() -> None:
    found = [is_postgres(f"{scheme}://db/x") for scheme in ("postgresql", "postgres", "postgresql+psycopg", "sqlite", "http")]
    assert found == [True, True, True, False, False]


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
