"""Stages side by side: the order, the time left, and that a failure, a signal or a second DVC does no harm."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml

from angiosynth.verbs import repro
from angiosynth.verbs.parallel_stages import Clock, ParallelStages, Plan, Planned
from tests.factories import tiny_settings
from tests.verbs.pipelines import empty_dvc, without_libraries

pytestmark = pytest.mark.waits


def _stage(name: str, *needs: str) -> Planned:
    return Planned(name, f"make {name}", frozenset(needs))


#   a (10) - b (1) - d (1)      c (5) needs nothing, e (1) needs a and c
STAGES = (_stage("a"), _stage("b", "a"), _stage("d", "b"), _stage("c"), _stage("e", "a", "c"))
SECONDS = {"a": 10.0, "b": 1.0, "c": 5.0, "d": 1.0, "e": 1.0}


def test_the_longest_chain_begins() -> None:
    plan = Plan(STAGES, SECONDS, 2)
    assert plan.starts((), ()) == ["a", "c"]
    assert plan.starts((), ("a",)) == ["c"]
    assert plan.starts({"c"}, ("a",)) == []
    assert plan.starts({"a", "c"}, ()) == ["b", "e"]
    assert plan.starts({"a", "b", "c"}, ("e",)) == ["d"]


def test_stages_start_beside_others_as_far_as_their_memory_fits() -> None:
    """By hand, of 10 bytes: a takes 8 and c 3, which do not fit; x takes 12 and runs alone."""
    plan = Plan(STAGES, SECONDS, 3, {"a": 8, "c": 3, "b": 2, "e": 7}, 10)
    assert plan.starts((), ()) == ["a"], "c waits"
    assert plan.starts((), ("c",)) == []
    assert plan.starts({"a"}, ()) == ["c", "b"]
    assert plan.starts({"a", "c"}, ("b",)) == ["e"], "9 of 10"
    assert plan.time_left((), {}) == 16.0, "a, then c beside b and d, then e"
    assert Plan([_stage("x"), _stage("y")], {}, 2, {"x": 12, "y": 12}, 10).starts((), ()) == ["x"]


@pytest.mark.parametrize(("jobs", "seconds"), [(1, 18.0), (2, 12.0), (3, 12.0)])
def test_time_left_by_hand(jobs: int, seconds: float) -> None:
    assert Plan(STAGES, SECONDS, jobs).time_left((), {}) == seconds


def test_time_left_respects_what_runs() -> None:
    plan = Plan(STAGES, SECONDS, 2)
    assert plan.time_left({"c"}, {"a": 4.0}) == 8.0
    assert plan.time_left({"c"}, {"a": 60.0}) == 2.0, "it takes longer than was thought: it may end at any moment"
    assert plan.time_left({"a", "b", "c", "d", "e"}, {}) == 0.0
    assert Plan((), {}, 2).time_left((), {}) == 0.0


def test_the_clock_learns() -> None:
    clock = Clock()
    assert clock.factor == 1.0
    clock.add(20.0, 60.0)
    assert clock.factor == 2.0


def _project(root: Path, stages: dict[str, dict[str, object]]) -> Path:
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    empty_dvc(root)
    return root


def _meeting(here: str, there: str) -> str:
    """A command that ends well only if the other one runs at the same time."""
    return f"touch {here}; for i in $(seq 300); do test -e {there} && exit 0; sleep 0.1; done; exit 1"


@pytest.fixture
def no_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repro, "_estimate", lambda settings, stages: {stage.name: 10.0 for stage in stages})
    without_libraries(monkeypatch)


@pytest.mark.usefixtures("no_estimate")
def test_stages_meet_and_the_next_waits_for_both(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    stages: dict[str, dict[str, object]] = {
        "x": {"cmd": _meeting("x", "y"), "outs": ["x"]},
        "y": {"cmd": _meeting("y", "x"), "outs": ["y"]},
        "z": {"cmd": "cat x y > z && echo hello", "deps": ["x", "y"], "outs": ["z"]},
    }
    root = _project(tmp_path, stages)
    assert repro.repro(tiny_settings(), root, [], jobs=2) == 0
    output, error = capfd.readouterr()
    assert "hello" in output.splitlines(), "what a stage prints is passed on"
    lines = [line for line in error.splitlines() if line.startswith("stage")]
    assert [line.partition(",")[0] for line in lines][2] == "stage 3 of 3: z"
    assert "3 stages, 2 at a time, about 20 s on " in error
    status = subprocess.run([sys.executable, "-m", "dvc", "status", "-q"], cwd=root, check=False)
    assert status.returncode == 0, "DVC takes all of them for done"
    assert repro.repro(tiny_settings(), root, [], jobs=2) == 0
    assert "hello" not in capfd.readouterr().out


@pytest.mark.usefixtures("no_estimate")
def test_a_failure_ends_what_has_not_begun(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    stages: dict[str, dict[str, object]] = {
        "bad": {"cmd": "touch begun; exit 3", "outs": ["never"]},
        "good": {"cmd": "while ! test -e begun; do sleep 0.1; done; sleep 1; touch good", "outs": ["good"]},
        "after": {"cmd": "touch after", "deps": ["good"], "outs": ["after"]},
    }
    root = _project(tmp_path, stages)
    assert repro.repro(tiny_settings(), root, [], jobs=2) != 0
    output, error = capfd.readouterr()
    assert "failed to reproduce 'bad'" in output
    assert "bad: failed; what runs beside it goes on, nothing else begins" in error
    assert (root / "good").exists()
    assert not (root / "after").exists()


def test_a_signal_ends_dvc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = ("x", "y")
    root = _project(tmp_path, {name: {"cmd": f"echo $$ > {name}.pid; exec sleep 100", "outs": [name]} for name in names})
    begun = [root / f"{name}.pid" for name in names]

    def stop(number: int, frame: object) -> None:
        raise SystemExit(number)

    def send() -> None:
        end = time.monotonic() + 60
        while not all(path.exists() and path.read_text() for path in begun) and time.monotonic() < end:
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGALRM)

    before = signal.signal(signal.SIGALRM, stop)
    sender = threading.Thread(target=send)
    sender.start()
    start = time.monotonic()
    try:
        with pytest.raises(SystemExit):
            ParallelStages(root, Plan([_stage(name) for name in names], {}, 2), os.environ, lambda name, number, left: None).run()
    finally:
        sender.join()
        signal.signal(signal.SIGALRM, before)
        for path in begun:
            os.kill(int(path.read_text()), signal.SIGKILL)  # DVC leaves it; a stage of cli.py would have been ended by the warm server
    assert time.monotonic() - start < 90, "not waited for the stages"
    status = subprocess.run([sys.executable, "-m", "dvc", "status", "-q"], cwd=root, check=False)
    assert status.returncode == 1, "the lock is free, and nothing is done"
