"""What is missing is named with what to do about it."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections import namedtuple
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from angiosynth.cli import commands
from angiosynth.errors import InputError
from angiosynth.project.dvc_files import LOCK, RECORD, repair
from angiosynth.project.workspace import Workspace
from angiosynth.runtime.leftovers import MACHINE
from angiosynth.settings import load_settings
from angiosynth.stages.cohort import cohort
from angiosynth.tracking.runs import RunSpec, ensure_store, training_run
from angiosynth.verbs import doctor
from angiosynth.verbs.check_result import CheckResult
from angiosynth.verbs.installed_packages import packages
from tests.factories import changed, make_cohort, tiny_tree, untried

pytestmark = pytest.mark.waits

ROOT = Path(__file__).resolve().parents[2]
Usage = namedtuple("Usage", "total used free")


def _only(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    monkeypatch.setattr(doctor, "CHECKS", tuple(getattr(doctor, name) for name in names))


def test_a_finding_is_a_fault_a_note_or_fine() -> None:
    assert [CheckResult("a", "b").state, CheckResult("a", "b", "mend it").state, CheckResult("a", "b", "mend it", fault=True).state] == [
        "ok",
        "note",
        "fault",
    ]


def test_an_empty_folder_is_reported_with_what_it_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _only(monkeypatch, "packages", "_settings", "_dvc")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    table, healthy = doctor.doctor(tmp_path)
    assert not healthy
    assert table.count("fault ") == 3
    for word in ("requirements.lock", "profile demo", "dvc init"):
        assert word in table


def test_packages_are_held_against_the_lock(tmp_path: Path) -> None:
    wanted = {"numpy": metadata.version("numpy"), "no-such-package": "1.0", "pytest": "0.1"}
    (tmp_path / "requirements.lock").write_text("".join(f"{name}=={version}\n" for name, version in wanted.items()))
    (line,) = packages(tmp_path)
    assert line.result == "1 of 3 as in requirements.lock"
    assert line.fault
    assert "no-such-package is missing" in line.advice
    assert "instead of 0.1" in line.advice


@pytest.mark.parametrize(("gigabytes", "state"), [(1.0, "fault"), (5.0, "note"), (50.0, "ok")])
def test_a_full_disk(gigabytes: float, state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage(1e12, 0, gigabytes * 1e9))
    (line,) = doctor._disk(Path())
    assert line.state == state


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
    for words in (["init"], ["remote", "add", "store", "/a/secret/place"]):
        assert _dvc(tmp_path, *words) == 0
    remote, telemetry = doctor._dvc(tmp_path)
    assert remote.result == "store"
    assert "secret" not in f"{remote}{telemetry}"
    assert "core.analytics false" in telemetry.advice


def test_a_store_that_does_not_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("ANGIOSYNTH_TRACKING", raising=False)
    (tmp_path / "mlruns").mkdir()
    (tmp_path / "mlruns" / "mlflow.db").write_text("this is no database")
    (line,) = doctor._store(tmp_path)
    assert line.fault
    assert "mlflow.db" in line.advice
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://lab:word@127.0.0.1:1")
    (away,) = doctor._store(tmp_path)
    assert (away.result, away.state) == ("http, does not open", "note"), "trainings go on without their server"
    assert "word@" not in away.advice
    monkeypatch.setenv("ANGIOSYNTH_TRACKING", "off")
    (off,) = doctor._store(tmp_path)
    assert off.state == "note"


def test_studies_that_do_not_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANGIOSYNTH_STUDIES", raising=False)
    (none,) = doctor._studies(tmp_path)
    assert (none.result, none.state) == ("sqlite, 0 studies", "ok")
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
    monkeypatch.setattr(doctor, "CHECKS", (lambda _root: iter([CheckResult("x", "y", "z", fault=True)]),))
    assert CliRunner().invoke(commands, ["doctor"]).exit_code == 1


def _verdict(check: Callable[[Path], Iterator[CheckResult]], root: Path) -> str:
    """The advice of the first fault, "" where there is none. Each names a command to type."""
    advice = next((finding.advice for finding in check(root) if finding.fault), "")
    assert not advice or advice.count("`") >= 2, advice
    return advice


def test_what_is_safe_to_mend_is_mended_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _only(monkeypatch, "open_to_others", "left_behind")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    left = tmp_path / "models" / f".partial-{MACHINE}-{'0' * 8}-unet"
    left.mkdir(parents=True)
    os.chmod(tmp_path, 0o755)
    os.chmod(tmp_path / "models", 0o755)
    table, _ = doctor.doctor(Path())
    assert "was left behind" in table
    assert CliRunner().invoke(commands, ["doctor"]).exit_code == 0
    assert left.exists()  # doctor alone changes nothing
    done = CliRunner().invoke(commands, ["doctor", "--fix"])
    assert done.exit_code == 0, done.output
    assert not left.exists()
    assert (tmp_path / "models").stat().st_mode & 0o077 == 0
    assert "left behind" not in done.stdout


@pytest.mark.parametrize("uri", ["mlruns", "./mlruns", "file:mlruns", "nonsense://x", "sqlite:///mlflow.db", "http://127.0.0.1:1", ""])
def test_the_store_is_asked_as_stages_ask_it(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neighbours: folders in each way to write them, an unknown scheme, a database, a server that is away, nothing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    try:
        with training_run(RunSpec("generator", "x", stage="train-generator@dcgan", settings={"a": 1}), root=tmp_path):
            pass
        refused = False
    except InputError:
        refused = True
    assert bool(_verdict(doctor._store, tmp_path)) == refused
    assert refused == (uri in {"mlruns", "./mlruns", "file:mlruns", "nonsense://x"})


def _params(root: Path, **values: Any) -> None:
    (root / "params.yaml").write_text(yaml.safe_dump(changed(untried(tiny_tree()), values)))


SCANS: dict[str, tuple[dict[str, Any], str]] = {
    "sound": ({}, ""),
    "too few for the split": ({"cohort__sites__site_a__split": {"train": 9, "validation": 1, "test": 1}}, "labelled ones are free"),
    "a name that nobody has": ({"cohort__sites__site_a__split": {"train": ["sub-99"], "validation": 1, "test": 1}}, "sub-99"),
    "a folder without a scan": ({"cohort__sites__site_a__path": "empty"}, "no scan found"),
    "a split without validation": ({"cohort__sites__site_a__split": {"train": 2, "validation": 0, "test": 1}}, "names no patient"),
    "a batch for another machine": ({"unet__batch_size": 60_000, "unet__width": 64}, "training would take about"),
}


@pytest.mark.parametrize("case", SCANS)
def test_scans_and_settings_are_asked_as_cohort_asks_them(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values, words = SCANS[case]
    make_cohort(tmp_path / "lab" / "a", 4, (32, 36, 4), seed=1)
    make_cohort(tmp_path / "lab" / "b", 4, (32, 36, 4), seed=2)
    (tmp_path / "empty").mkdir()
    _params(tmp_path, **{"cohort__sites__site_a__path": "lab/a", "cohort__sites__site_b__path": "lab/b", **values})
    monkeypatch.chdir(tmp_path)
    advice_of_doctor = next(filter(None, (_verdict(check, Path()) for check in (doctor._settings, doctor._scans, doctor._sizes))), "")
    try:
        cohort(load_settings(Path("params.yaml")), Workspace())
        said = ""
    except InputError as error:
        said = str(error)
    assert bool(advice_of_doctor) == bool(said)
    assert words in advice_of_doctor
    assert words in said


def _dvc(root: Path, *words: str) -> int:
    """DVC's exit code. It is called in this process, since importing it takes longer than all that it does here."""
    from dvc.cli import main

    with contextlib.chdir(root):
        return int(main([*words, "-q"]))


def _refused(root: Path) -> str:
    """What doctor advises, after a look whether `dvc repro` is of the same mind."""
    advice = _verdict(doctor._dvc, root)
    assert bool(advice) == (_dvc(root, "repro") != 0)
    return advice


def test_dvc_is_asked_as_repro_asks_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neighbours: what `dvc repro` refuses before any stage: a lock, no git, no DVC. What doctor advises mends it."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    assert _dvc(tmp_path, "init") == 0
    (tmp_path / "dvc.yaml").write_text("stages: {a: {cmd: echo a}}\n")
    assert _refused(tmp_path) == ""
    code = "from dvc.repo import Repo\nwith Repo('.').lock: print('held', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        monkeypatch.setattr("dvc.lock.DEFAULT_TIMEOUT", 0.2)  # seconds that DVC waits in this process
        assert "another dvc command" in _refused(tmp_path)
        holder.communicate(b"\n")
    assert _dvc(tmp_path, "repro", "--force") == 0
    for path in (RECORD, LOCK):
        whole = (tmp_path / path).read_text()
        for length in (0, len(whole) // 2):  # as a kill within its writing leaves it
            (tmp_path / path).write_text(whole[:length])
            assert f"a killed run damaged {path}" in _refused(tmp_path)
            assert repair(tmp_path) == [path]
            assert _refused(tmp_path) == ""
    shutil.rmtree(tmp_path / ".git")
    assert "`git init` in the project's folder" in _refused(tmp_path)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    assert _verdict(doctor._dvc, tmp_path) == ""
    shutil.rmtree(tmp_path / ".dvc")
    assert "`git init && dvc init`" in _verdict(doctor._dvc, tmp_path)


def test_folders_that_cannot_be_written_are_faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (ok,) = doctor._places(tmp_path)
    assert ok.state == "ok"
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(tempfile, "tempdir", "/proc/none")
    assert "/proc" in _verdict(doctor._places, tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", None)
    (tmp_path / "mlruns").touch()
    assert "mlruns" in _verdict(doctor._places, tmp_path)
    with pytest.raises(InputError):
        ensure_store(tmp_path)


def test_a_full_temporary_folder_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "small"))
    (tmp_path / "small").mkdir()
    usage = shutil.disk_usage
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(1e9, 1e9, 1e6) if Path(path).name == "small" else usage(path))
    assert "less than 0.2 GB free" in _verdict(doctor._places, tmp_path)
