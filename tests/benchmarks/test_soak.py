"""The soak kills all that a run has started, knows which stages ran, and sees each kind of difference."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from functools import partial
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest
import yaml

from benchmarks.soak import PLAIN, SIDE_BY_SIDE, Start, _undo, differences
from tests.pipeline import stages_of
from tests.verbs.pipelines import empty_dvc

pytestmark = pytest.mark.waits

# In the place of DVC: three stages, the second has a child, which writes down its number.
STANDS_FOR_DVC = """
import subprocess, sys, time
print("Running stage 'first':", flush=True)
print("first: done in 1 s" if "cli.py" in sys.argv[0] else "", flush=True)
print("Running stage 'second@a':", flush=True)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
open("child", "w").write(str(child.pid))
print("Running stage 'third':", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize(("words", "running"), [(PLAIN, {"third"}), (SIDE_BY_SIDE, {"second@a", "third"})], ids=["plain", "side by side"])
def test_a_kill_ends_children_too(words: tuple[str, ...], running: set[str], tmp_path: Path) -> None:
    (tmp_path / "src" / "dvc").mkdir(parents=True)
    for name in ("cli.py", "src/dvc/__main__.py"):
        (tmp_path / name).write_text(STANDS_FOR_DVC)
    (tmp_path / "src" / "dvc" / "__init__.py").touch()
    start = Start(tmp_path, words, {})
    assert start.wait_until(3, 0.0)
    assert start.running == running
    child = int((tmp_path / "child").read_text())
    assert os.getpgid(child) == start.process.pid
    start.kill_all()
    assert start.end() == -9
    until = time.monotonic() + 10
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < until
        time.sleep(0.01)


def _project(folder: Path, content: str = "0.5", digest: str = "d1") -> Path:
    for place in ("metrics", "mlruns", ".work/train-generator-a/key"):
        (folder / place).mkdir(parents=True)
    (folder / "metrics" / "real.csv").write_text(f"patient,dsc\nsub-001,{content}\n")
    (folder / "dvc.lock").write_text(yaml.safe_dump({"stages": {"report": {"outs": [{"path": "report", "md5": digest}]}}}))
    with closing(sqlite3.connect(folder / "mlruns" / "mlflow.db")) as database:
        database.execute("create table runs (status text)")
    return folder


def test_each_kind_of_difference_is_seen(tmp_path: Path) -> None:
    reference = _project(tmp_path / "reference")
    assert differences(reference, _project(tmp_path / "same")) == []
    assert differences(reference, _project(tmp_path / "value", content="0.6")) == ["metrics/real.csv: line 2: sub-001,0.5 | sub-001,0.6"]
    assert differences(reference, _project(tmp_path / "digest", digest="d2")) == ["dvc.lock: report differs"]
    left = _project(tmp_path / "left")
    (left / "metrics" / ".partial-0-0-real.csv").touch()
    (left / ".work" / "train-generator-a" / "key" / "step-1.ckpt").touch()
    faults = differences(reference, left)
    assert [fault.rpartition("/")[2] for fault in faults if fault.endswith("left over")] == [
        ".partial-0-0-real.csv: left over",
        "step-1.ckpt: left over",
    ]


def test_a_stage_that_is_undone_runs_again_instead_of_coming_from_the_cache(tmp_path: Path) -> None:
    definition = {
        "stages": {name: {"cmd": f"echo {name} >> log; echo {name} > {name}", "deps": ["input"], "outs": [name]} for name in ("x", "y")}
    }
    (tmp_path / "input").touch()
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump(definition))
    empty_dvc(tmp_path)
    run = partial(subprocess.run, [sys.executable, "-m", "dvc", "repro", "-q"], cwd=tmp_path, check=True)
    run()
    _undo(tmp_path, [stage for stage in stages_of((tmp_path / "dvc.yaml").read_text(), {}) if stage.name == "y"])
    assert not (tmp_path / "y").exists()
    run()
    assert (tmp_path / "log").read_text().split() == ["x", "y", "y"]
