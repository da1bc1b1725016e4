"""The commands ui and serve: nothing is printed or begun where the port is taken or the model is not there."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from angiosynth import cli
from angiosynth.tracking import runs as tracking
from tests.stores import empty_store

ROOT = Path(__file__).resolve().parents[2]
Called = list[tuple[list[str], dict[str, str]]]


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


@pytest.fixture
def free(taken: int) -> int:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        return int(other.getsockname()[1])


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Called:
    """The commands that would have replaced the process."""
    seen: Called = []
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "DVC_ROOT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "execve", lambda _, words, environment: seen.append((words, environment)))
    return seen


def _call(*words: str) -> int:
    with pytest.raises(SystemExit) as caught:
        cli.app(lambda: cli.commands(list(words)))
    return int(caught.value.code or 0)


@pytest.mark.parametrize("words", [("ui",), ("serve", "--model", "models:/unet-real@champion")])
def test_a_taken_port_is_one_line_before_anything_else(
    words: tuple[str, ...], taken: int, called: Called, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _call(*words, "--port", str(taken)) == 2
    out, error = capsys.readouterr()
    variable = "UI_PORT" if words[0] == "ui" else "PORT"
    assert (out, error) == (
        "",
        f"angiosynth: port {taken}: another program listens there; choose another: make {words[0]} {variable}={taken + 2}\n",
    )
    assert not called
    assert not list(Path().iterdir())


@pytest.mark.parametrize("port", ["0", "65536", "-1", "web"])
def test_what_is_no_port_is_refused(port: str, called: Called) -> None:
    for words in (("ui",), ("serve", "--model", "m")):
        assert _call(*words, f"--port={port}") == 2
    assert not called


def test_the_pages_are_served_where_the_port_is_free(
    free: int, called: Called, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made: list[Path] = []
    monkeypatch.setattr(tracking, "ensure_store", made.append)  # which takes MLflow seconds
    assert _call("ui", "--port", str(free)) == 0
    assert f"http://127.0.0.1:{free}/#/experiments/1/runs?" in capsys.readouterr().out
    ((words, environment),) = called
    expected = [sys.executable, "-m", "mlflow", "ui", "--host", "127.0.0.1", "--port", str(free), "--workers", "1"]
    hosts = f"127.0.0.1:{free},localhost:{free}"
    expected += ["--allowed-hosts", hosts, "--cors-allowed-origins", f"http://127.0.0.1:{free},http://localhost:{free}"]
    assert words == expected
    assert environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
    assert environment["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert environment["MLFLOW_BACKEND_STORE_URI"] == f"sqlite:///{Path.cwd()}/mlruns/mlflow.db"
    assert environment["PATH"].startswith(str(Path(sys.executable).parent)), "MLflow begins uvicorn by its name"
    assert made == [Path.cwd()]


def test_a_servers_pages_are_its_own(called: Called, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert _call("ui") == 0
    assert "its pages are at that address" in capsys.readouterr().out
    assert not called


def test_a_model_that_is_not_there_is_one_line(free: int, called: Called, mlflow_tables: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty_store(Path(), mlflow_tables)
    for model in ("models:/unet-real@champion", "models:/unet-real/3"):
        assert _call("serve", "--model", model, "--port", str(free)) == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert error.startswith(f"angiosynth: {model}: the tracking store has none such (")
    assert not called


@pytest.mark.parametrize("model", ["models/unet/real", "nonsense", "models:/unet-real", "runs:/0/unet", "models:/unet-real/latest"])
def test_what_names_no_registered_model_is_one_line(
    model: str, free: int, called: Called, mlflow_tables: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty_store(Path(), mlflow_tables)
    assert _call("serve", "--model", model, "--port", str(free)) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "names no" in error
    assert "models:/NAME@ALIAS" in error
    assert not called


@pytest.mark.parametrize(("target", "words"), [("ui", "ui --port 5077"), ("serve", 'serve --model "m/1" --port 5077')])
def test_make_hands_the_port_on(target: str, words: str) -> None:
    """What make would do, not done: called by itself or, as the suite often is, by another make."""
    named: Any = ["make", "--no-print-directory", "-n", "-o", ".venv/installed", target, "UI_PORT=5077", "PORT=5077", "MODEL=m/1"]
    done = subprocess.run(named, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == f"python cli.py {words}"
