"""Real servers on 127.0.0.1 for tests, each in a folder of its own, ended with the test."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PASSWORD = "s3cret-w0rd"  # of the test's own server; no message may show it


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def postgres_programs() -> Path | None:
    """The folder with initdb and pg_ctl: on the path, or where Debian puts them."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name), reverse=True)
    return next((folder for folder in folders if (folder / "postgres").exists() and (folder / "pg_ctl").exists()), None)


@dataclass(frozen=True)
class Postgres:
    """A server: its databases' URIs by name, password within, and what stops it as a power cut would and starts it again."""

    uris: dict[str, str]
    stop: Callable[[], None]
    start: Callable[[], None]


@contextmanager
def postgres(programs: Path, databases: tuple[str, ...]) -> Iterator[Postgres]:
    """A PostgreSQL server with these databases."""
    own = _unprivileged()
    with tempfile.TemporaryDirectory(prefix="angiosynth-postgres-") as folder:
        home, port = Path(folder), free_port()
        secret = home / "password"
        secret.write_text(PASSWORD)
        if own is not None:
            os.chown(home, own.pw_uid, own.pw_gid)
            os.chown(secret, own.pw_uid, own.pw_gid)

        def call(program: str, *words: str) -> None:
            identity: dict[str, Any] = {} if own is None else {"user": own.pw_uid, "group": own.pw_gid, "extra_groups": []}
            with (home / "log").open("a") as log:  # a pipe would stay open as long as the server
                done = subprocess.run(
                    [str(programs / program), *words], cwd=home, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **identity
                )
            assert done.returncode == 0, f"{program}: {(home / 'log').read_text()[-2000:]}"

        data = str(home / "data")
        call("initdb", "-D", data, "-U", "lab", "-A", "scram-sha-256", "--pwfile", str(secret), "-N", "--no-instructions")
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off"

        def start() -> None:
            call("pg_ctl", "-D", data, "-w", "-l", str(home / "server"), "-o", options, "start")

        def stop() -> None:
            call("pg_ctl", "-D", data, "-w", "-m", "immediate", "stop")

        start()
        try:
            here = f"postgresql://lab:{PASSWORD}@127.0.0.1:{port}"
            _create(f"{here}/postgres", databases)
            yield Postgres({name: f"{here}/{name}" for name in databases}, stop, start)
        finally:
            stop()


@contextmanager
def mlflow_server(home: Path, port: int) -> Iterator[Callable[[], None]]:
    """An MLflow server on its SQLite file and artifact folder in `home`; gives what kills it, as a power cut would."""
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{home}/server.db", "--artifacts-destination", str(home / "artifacts")]
    quiet = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    quiet.pop("MLFLOW_TRACKING_URI", None)
    with (home / "server.log").open("a") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=quiet, start_new_session=True)

    def kill() -> None:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()

    try:
        until = time.monotonic() + 120
        while not _answers(f"http://127.0.0.1:{port}/health"):
            assert server.poll() is None, (home / "server.log").read_text()[-2000:]
            assert time.monotonic() < until, (home / "server.log").read_text()[-2000:]
            time.sleep(0.1)
        yield kill
    finally:
        kill()


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _create(uri: str, databases: tuple[str, ...]) -> None:
    import psycopg

    with psycopg.connect(uri, autocommit=True) as connection:
        for name in databases:
            connection.execute(f"create database {name}".encode())


def _unprivileged() -> pwd.struct_passwd | None:
    """Whom the server runs as: PostgreSQL refuses root."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None
