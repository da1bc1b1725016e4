"""`repro` runs what `dvc repro` would run, ends as it ends, and says how long all stages together will take."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from angiosynth.verbs import repro
from angiosynth.verbs.parallel_stages import Planned
from angiosynth.verbs.repro import planned, stage_of
from tests.factories import tiny_settings
from tests.verbs.pipelines import empty_dvc, without_libraries

pytestmark = pytest.mark.waits

ROOT = Path(__file__).resolve().parents[2]

PIPELINE = {
    "first": {"cmd": "cp a b", "deps": ["a"], "outs": ["b"]},
    "second": {"foreach": ["x", "y"], "do": {"cmd": "cat b > ${item}", "deps": ["b"], "outs": ["${item}"]}},
    "third": {"cmd": "cat x y > z", "deps": ["x", "y"], "outs": ["z"]},
    "other": {"cmd": "test ! -e fail && cp c d", "deps": ["c"], "outs": ["d"]},
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "c"):
        (tmp_path / name).write_text(name)
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": PIPELINE}))
    empty_dvc(tmp_path)
    without_libraries(monkeypatch)
    return tmp_path


def _names(root: Path, *targets: str) -> list[str]:
    return [stage.name for stage in planned(root, targets)]


def test_what_has_changed_and_what_rests_on_it_is_planned(project: Path) -> None:
    assert sorted(_names(project)) == ["first", "other", "second@x", "second@y", "third"]
    assert _names(project, "second@y") == ["first", "second@y"]
    assert {stage.name: stage.command for stage in planned(project, ["second@x"])}["second@x"] == "cat b > x"
    subprocess.run([sys.executable, "-m", "dvc", "repro", "-q"], cwd=project, check=True)
    assert _names(project) == []
    (project / "a").write_text("changed")
    assert _names(project)[0] == "first"
    assert sorted(_names(project)) == ["first", "second@x", "second@y", "third"]
    assert _names(project, "other") == []


def test_time_left_is_said_at_each_stage_and_respects_what_was_taken(
    project: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(repro, "_estimate", lambda settings, stages: {stage.name: 300.0 for stage in stages})
    assert repro.repro(tiny_settings(), project, []) == 0
    output, error = capfd.readouterr()
    assert (project / "z").read_text() == "aa"
    assert "Running stage 'third':" in output
    lines = error.splitlines()
    assert lines[0].startswith("5 stages, about 25:00 min on ")
    left = [line for line in lines if line.startswith("stage ")]
    assert left[0] == "stage 1 of 5, about 25:00 min left for all"
    assert len(left) == 5
    assert left[4].endswith(" s left for all"), "each stage took a moment, not five minutes"
    assert repro.repro(tiny_settings(), project, []) == 0
    assert "stages, about" not in capfd.readouterr().err, "nothing is to be done"


def test_a_stage_that_fails_ends_it_with_dvcs_code(
    project: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(repro, "_estimate", lambda settings, stages: {stage.name: 1.0 for stage in stages})
    (project / "fail").touch()
    assert repro.repro(tiny_settings(), project, ["other"]) != 0
    assert "failed to reproduce 'other'" in capfd.readouterr().err
    assert not (project / "d").exists()


@pytest.mark.long
def test_sigterm_ends_dvc_too(project: Path) -> None:
    (project / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"slow": {"cmd": "echo $$ > begun && exec sleep 300", "outs": ["never"]}}}))
    shutil.copytree(ROOT / "src", project / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("cli.py", "params.yaml"):
        shutil.copy(ROOT / name, project)
    (project / "src" / "angiosynth" / "verbs" / "repro.py").write_text(
        (ROOT / "src" / "angiosynth" / "verbs" / "repro.py")
        .read_text()
        .replace("if stages else {}", "if not stages else {}")  # no estimate
        .replace("warm_server(root, environment", "warm_server(root, (), environment")  # no libraries
    )
    with (project / "said").open("w") as said:
        process = subprocess.Popen([sys.executable, "cli.py", "repro"], cwd=project, stderr=said)
    end = time.monotonic() + 60
    while not ((project / "begun").exists() and (project / "begun").read_text()) and time.monotonic() < end:
        time.sleep(0.1)
    try:
        process.terminate()
        assert process.wait(30) == 143
    finally:
        os.kill(int((project / "begun").read_text()), signal.SIGKILL)  # a stage of cli.py would have been ended by the server
    assert (project / "said").read_text().splitlines()[-1] == "angiosynth: stopped; what was finished is kept"
    status = subprocess.run([sys.executable, "-m", "dvc", "status"], cwd=project, check=False, capture_output=True)
    assert status.returncode == 0, "the lock is free"


@pytest.mark.parametrize("jobs", [1, 2])
def test_stages_have_the_environment_of_the_warm_process(project: Path, monkeypatch: pytest.MonkeyPatch, jobs: int) -> None:
    def estimate(settings: object, stages: list[Planned]) -> dict[str, float]:
        monkeypatch.setenv("ADDED_BY_A_LIBRARY", "yes")
        return {stage.name: 1.0 for stage in stages}

    monkeypatch.setattr(repro, "_estimate", estimate)
    stages = {name: {"cmd": f"echo $ADDED_BY_A_LIBRARY. > {name}", "outs": [name]} for name in ("p", "q")}
    (project / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    assert repro.repro(tiny_settings(), project, [], jobs) == 0
    assert {(project / name).read_text() for name in stages} == {".\n"}


def test_what_is_no_stage_is_said_by_dvc(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert repro.repro(tiny_settings(), project, ["nowhere"]) != 0
    assert "'nowhere' not found" in capfd.readouterr().err


def test_the_line_of_a_stage_is_known() -> None:
    assert stage_of("Running stage 'second@x':") == "second@x"
    assert stage_of("Stage 'second@x' didn't change, skipping") is None
    assert stage_of("> cp a b") is None
