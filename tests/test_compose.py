"""deploy/compose.yaml without Docker: its databases, its server's own command and its health check, on this machine."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import mlflow
import pytest
import yaml

from tests import servers
from tests.documented import ROOT, run

SECRETS = (
    "mkdir -m 700 deploy/secrets",
    "for name in postgres mlflow optuna; do openssl rand -hex 24 > deploy/secrets/${name}_password; done",
)
CREATE = "SECRETS=deploy/secrets sh deploy/create-databases.sh"
ARTIFACTS = "/home/lab/angiosynth/mlruns"


def _compose() -> dict[str, Any]:
    compose: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())
    return compose


def test_the_documented_server_has_the_options_of_the_containers() -> None:
    page = (ROOT / "docs" / "team.md").read_text()
    (shown,) = re.findall(r"^MLFLOW_BACKEND_STORE_URI=\S+ (mlflow server .*?[^\\])$", page, re.MULTILINE | re.DOTALL)
    inside = _compose()["services"]["mlflow"]["command"][-1].partition("exec ")[2]
    options = [[word for word in shlex.split(text) if word.startswith("--")] for text in (shown, inside)]
    assert options[0] == options[1]


def test_every_secret_has_a_file_and_every_volume_is_declared() -> None:
    compose = _compose()
    for service in compose["services"].values():
        assert set(service.get("secrets", ())) <= compose["secrets"].keys()
        named = {volume.partition(":")[0] for volume in service.get("volumes", ()) if not volume.startswith((".", "/"))}
        assert named <= compose["volumes"].keys()
        assert all(port.startswith("${ANGIOSYNTH_BIND:-127.0.0.1}:") for port in service["ports"])


@pytest.fixture
def databases(tmp_path: Path) -> Iterator[Mapping[str, str]]:
    """Variables by which psql finds a PostgreSQL server as its superuser; deploy/ lies in the test's folder."""
    programs = servers.postgres_programs()
    if programs is None or any(shutil.which(name) is None for name in ("psql", "openssl")):
        pytest.skip("no PostgreSQL server, psql or openssl here (Debian: apt install postgresql openssl)")
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy")
    with servers.postgres(programs, ("lab",)) as server:
        place = urllib.parse.urlsplit(server.uris["lab"])
        yield {"PGHOST": "127.0.0.1", "PGPORT": str(place.port), "PGUSER": str(place.username), "PGPASSWORD": servers.PASSWORD}


def _psql(databases: Mapping[str, str], role: str, password: str, database: str) -> int:
    words = ["psql", "-U", role, "-d", database, "-c", "select 1"]
    return subprocess.run(words, env={**os.environ, **databases, "PGPASSWORD": password}, capture_output=True, check=False).returncode


@pytest.mark.service
@pytest.mark.slow
@pytest.mark.long
def test_the_server_runs_by_the_containers_command_on_the_scripts_databases(
    databases: Mapping[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in databases.items():
        monkeypatch.setenv(name, value)
    for command in (*SECRETS, CREATE):
        run(tmp_path, command)
    for name in databases:
        monkeypatch.delenv(name)
    secrets = tmp_path / "deploy" / "secrets"
    assert secrets.stat().st_mode & 0o077 == 0
    words = {name: (secrets / f"{name}_password").read_text().strip() for name in ("mlflow", "optuna")}
    assert [_psql(databases, role, words[role], role) for role in words] == [0, 0]
    assert _psql(databases, "optuna", words["optuna"], "mlflow") != 0  # each role has its own database alone

    service, port = _compose()["services"]["mlflow"], servers.free_port()
    here = {"$$": "$", "/run/secrets": str(secrets), ARTIFACTS: str(tmp_path / "artifacts")}
    here |= {"--host 0.0.0.0 --port 5000": f"--host 127.0.0.1 --port {port}", "@postgres/": f"@127.0.0.1:{databases['PGPORT']}/"}
    command, variables = _replaced(service["command"][-1], here), {"HOME": str(tmp_path)}
    variables["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    variables |= {name: _replaced(value, here) for name, value in service["environment"].items()}
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(["sh", "-c", command], env=variables, stdout=log, stderr=log, start_new_session=True)
    try:
        check = [word.replace(":5000", f":{port}") for word in service["healthcheck"]["test"][1:]]
        until = time.monotonic() + 300
        while subprocess.run([sys.executable, *check[1:]], capture_output=True, check=False).returncode:
            assert server.poll() is None, (tmp_path / "log").read_text()[-3000:]
            assert time.monotonic() < until, (tmp_path / "log").read_text()[-3000:]
            time.sleep(0.5)
        _records(f"http://127.0.0.1:{port}", tmp_path)
        listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
        assert words["mlflow"] not in listed  # in no command line
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(60)


def _replaced(text: str, places: Mapping[str, str]) -> str:
    for inside, here in places.items():
        text = text.replace(inside, here)
    return text


def _records(address: str, folder: Path) -> None:
    """A run's numbers are kept, and its files come to the server's folder."""
    client = mlflow.MlflowClient(address)
    run_id = client.create_run(client.create_experiment("unet")).info.run_id
    client.log_metric(run_id, "val_dsc", 0.5)
    (folder / "curve.csv").write_text("step,loss\n1,0.5\n")
    client.log_artifact(run_id, str(folder / "curve.csv"))
    assert client.get_run(run_id).data.metrics == {"val_dsc": 0.5}
    assert [path.name for path in (folder / "artifacts").rglob("*.csv")] == ["curve.csv"]
