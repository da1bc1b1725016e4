"""What is missing is named with what to do about it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import namedtuple
from importlib import metadata
from pathlib import Path

import pytest
from typer.testing import CliRunner

from angiosynth.cli import commands
from angiosynth.stages import doctor
from angiosynth.stages.doctor import Finding

ROOT = Path(__file__).resolve().parents[2]
Usage = namedtuple("Usage", "total used free")


def _only(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    monkeypatch.setattr(doctor, "CHECKS", tuple(getattr(doctor, name) for name in names))


def test_a_finding_is_a_fault_a_note_or_fine() -> None:
    assert [Finding("a", "b").state, Finding("a", "b", "mend it").state, Finding("a", "b", "mend it", fault=True).state] == [
        "ok",
        "note",
        "fault",
    ]


def test_an_empty_folder_is_told_what_it_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _only(monkeypatch, "_packages", "_settings", "_dvc")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    table, healthy = doctor.doctor(tmp_path)
    assert not healthy
    assert table.count("fault ") == 3
    for word in ("requirements.lock", "profile demo", "dvc init"):
        assert word in table


def test_packages_are_held_against_the_lock(tmp_path: Path) -> None:
    own = {"numpy": metadata.version("numpy"), "no-such-package": "1.0", "pytest": "0.1"}
    (tmp_path / "requirements.lock").write_text("".join(f"{name}=={version}\n" for name, version in own.items()))
    (found,) = doctor._packages(tmp_path)
    assert found.found == "1 of 3 as in requirements.lock"
    assert found.fault
    assert "no-such-package is missing" in found.advice
    assert "instead of 0.1" in found.advice


@pytest.mark.parametrize(("gigabytes", "state"), [(1.0, "fault"), (5.0, "note"), (50.0, "ok")])
def test_a_full_disk(gigabytes: float, state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage(1e12, 0, gigabytes * 1e9))
    (found,) = doctor._disk(Path())
    assert found.state == state


def test_a_site_that_is_not_there_and_a_wrong_setting(tmp_path: Path) -> None:
    params = (ROOT / "profiles" / "real.yaml").read_text()
    (tmp_path / "params.yaml").write_text(params)
    settings, scans = doctor._settings(tmp_path)
    assert settings.state == "ok"
    assert scans.fault
    assert "dvc add data/raw/site-a" in scans.advice
    (tmp_path / "params.yaml").write_text(params.replace("  seed: 1", "  sead: 1"))
    (broken,) = doctor._settings(tmp_path)
    assert broken.fault
    assert "sead" in broken.advice


def test_a_dvc_remote_is_named_and_its_place_is_not(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    for words in (["init", "-q"], ["remote", "add", "store", "/a/secret/place"]):
        assert doctor._called(tmp_path, sys.executable, "-m", "dvc", *words) is not None
    remote, telemetry = doctor._dvc(tmp_path)
    assert remote.found == "store"
    assert "secret" not in f"{remote}{telemetry}"
    assert "core.analytics false" in telemetry.advice


def test_a_store_that_does_not_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("ANGIOSYNTH_TRACKING", raising=False)
    (tmp_path / "mlruns").mkdir()
    (tmp_path / "mlruns" / "mlflow.db").write_text("this is no database")
    (found,) = doctor._store(tmp_path)
    assert found.fault
    assert "mlflow.db" in found.advice
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://lab:word@127.0.0.1:1")
    (away,) = doctor._store(tmp_path)
    assert (away.found, away.state) == ("http, does not open", "note"), "trainings go on without their server"
    assert "word@" not in away.advice
    monkeypatch.setenv("ANGIOSYNTH_TRACKING", "off")
    (off,) = doctor._store(tmp_path)
    assert off.state == "note"


def test_studies_that_do_not_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANGIOSYNTH_STUDIES", raising=False)
    (none,) = doctor._studies(tmp_path)
    assert (none.found, none.state) == ("sqlite, 0 studies", "ok")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv("ANGIOSYNTH_STUDIES", "postgresql://lab:word@127.0.0.1:1/optuna")
    (away,) = doctor._studies(tmp_path)
    assert away.fault
    assert "ANGIOSYNTH_STUDIES" in away.advice
    assert "word@" not in away.advice


def test_the_command_tells_by_its_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    _only(monkeypatch, "_python", "_torch", "_memory")
    done = CliRunner().invoke(commands, ["doctor"])
    assert done.exit_code == 0, done.output
    assert "torch" in done.output
    monkeypatch.setattr(doctor, "CHECKS", (lambda _root: iter([Finding("x", "y", "z", fault=True)]),))
    assert CliRunner().invoke(commands, ["doctor"]).exit_code == 1
