"""Patients' patches that a command puts away for a moment: gone on every end that it can see, else at the next start."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from angiosynth import cli
from angiosynth.runtime.leftovers import PARTIAL, REPLACED, beside, claim
from angiosynth.runtime.output import scratch_folder
from tests.test_pipeline import _environment

pytestmark = pytest.mark.waits

ROOT = Path(__file__).resolve().parents[2]
SECRET = "a patient's patch"
SEEN = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGXCPU, signal.SIGUSR1)
# One process that holds a scratch folder, a folder and a file half-written, at one of several moments of its life.
HOLDS = f"""
import os, signal, subprocess, sys, time
from contextlib import ExitStack
from pathlib import Path
from angiosynth import cli
from angiosynth.search.workers import with_workers
from angiosynth.runtime.output import scratch_folder, whole_file, whole_folder
from angiosynth.runtime.stop import heeding_sigterm, uninterrupted

# Whoever runs the tests may ignore them, as nohup does.
for number in () if "AS_INHERITED" in os.environ else (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
    signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)

def ready():
    (Path("ready") / str(os.getpid())).touch()

def slept():
    for _ in range(1200):  # in slices: Python handles a signal that arrives just before a system call only after that call
        time.sleep(0.1)

def sleeping():
    ready()
    slept()

def computing():
    ready()
    while True:
        sum(range(1000))

def waiting_for_a_child():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"])
    try:
        ready()
        child.wait()
    finally:
        child.kill()

def after_a_training():
    with heeding_sigterm():
        pass
    sleeping()

def removing():
    with uninterrupted():
        ready()
        time.sleep(0.5)
    slept()

def failing():
    ready()
    raise RuntimeError("a fault")

def hold(moment):
    with ExitStack() as stack:
        folder = stack.enter_context(scratch_folder(Path(".work/held-out")))
        (folder / "deep").mkdir()
        (folder / "deep" / "image.npy").write_text({SECRET!r})
        (stack.enter_context(whole_folder(Path("audit/dcgan"))) / "gallery.png").write_text({SECRET!r})
        stack.enter_context(whole_file(Path("splits/site-a.json"))).write_text({SECRET!r})
        globals()[moment]()

def in_workers():
    with_workers(hold, "sleeping", 2)

if __name__ == "__main__":
    cli.app(lambda: in_workers() if sys.argv[1] == "in_workers" else hold(sys.argv[1]))
"""


def _project(folder: Path) -> Path:
    (folder / "ready").mkdir(parents=True)
    (folder / "dvc.yaml").touch()
    (folder / "holds.py").write_text(HOLDS)
    return folder


@contextmanager
def _holding(folder: Path, moment: str, processes: int = 1) -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "TMPDIR": str(folder)}
    words = [sys.executable, "holds.py", moment]
    with subprocess.Popen(words, cwd=_project(folder), env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            _wait_until(lambda: len(list((folder / "ready").iterdir())) >= processes)
            yield process
        finally:
            process.kill()


def _wait_until(there: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < end
        time.sleep(0.02)


def _kept(folder: Path) -> list[str]:
    """Files that hold what a patient's patch does."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "holds.py")
    return [path.relative_to(folder).as_posix() for path in files if SECRET.encode() in path.read_bytes()]


# Neighbours: every signal that would end a Python process and that it may heed; the moments are in HOLDS.
@pytest.mark.parametrize(
    ("moment", "sent"),
    [
        *(("sleeping", number) for number in SEEN),
        ("computing", signal.SIGTERM),
        ("waiting_for_a_child", signal.SIGTERM),
        ("after_a_training", signal.SIGTERM),
        ("removing", signal.SIGTERM),
        ("removing", signal.SIGINT),
    ],
    ids=str,
)
def test_nothing_is_left_on_an_end_that_the_process_sees(tmp_path: Path, moment: str, sent: signal.Signals) -> None:
    with _holding(tmp_path / "p", moment) as process:
        assert len(_kept(tmp_path / "p")) == 3
        process.send_signal(sent)
        said = process.communicate(timeout=60)[1]
    assert _kept(tmp_path / "p") == []
    assert process.returncode == 128 + sent
    assert "stopped; what was finished is kept" in said
    assert "Traceback" not in said


def test_nothing_is_left_after_a_fault(tmp_path: Path) -> None:
    with _holding(tmp_path / "p", "failing") as process:
        process.wait(60)
    assert _kept(tmp_path / "p") == []


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=str)
def test_a_sweeps_workers_end_with_the_process_that_started_them(tmp_path: Path, sent: signal.Signals) -> None:
    folder = tmp_path / "p"
    with _holding(folder, "in_workers", processes=2) as process:
        workers = [int(path.name) for path in (folder / "ready").iterdir()]
        process.send_signal(sent)
        process.communicate(timeout=60)
    assert _kept(folder) == []
    assert process.returncode == 128 + sent
    assert not [worker for worker in workers if Path(f"/proc/{worker}").exists()]


def test_a_worker_that_is_asked_to_end_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "p"
    with _holding(folder, "in_workers", processes=2) as process:
        for worker in (folder / "ready").iterdir():
            os.kill(int(worker.name), signal.SIGTERM)
        process.communicate(timeout=60)
    assert _kept(folder) == []


def test_a_signal_that_is_ignored_stays_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `nohup` has it."""
    monkeypatch.setenv("AS_INHERITED", "1")
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with _holding(tmp_path / "p", "sleeping") as process:
            process.send_signal(signal.SIGHUP)
            time.sleep(0.3)
            assert process.poll() is None
    finally:
        signal.signal(signal.SIGHUP, before)


def _next_command(folder: Path, monkeypatch: pytest.MonkeyPatch, *words: str) -> str:
    monkeypatch.chdir(folder)
    return CliRunner().invoke(cli.commands, list(words)).output


# Neighbours: commands that write nowhere near what was left, and that do nothing at all.
@pytest.mark.parametrize("words", [("summary", "--show"), ("profile", "none"), ("sync",)], ids=str)
def test_what_a_kill_left_is_closed_to_others_and_goes_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    folder = tmp_path / "p"
    with _holding(folder, "sleeping") as process:
        for living in (True, False):
            if not living:
                process.kill()
                process.wait(60)
            else:
                assert "removed; an earlier run had left it" not in _next_command(folder, monkeypatch, *words)
            left = _kept(folder)
            assert len(left) == 3, "nothing is taken from a process that lives"
            assert {(folder / name).parts[len(folder.parts)] for name in left} == {".work", "audit", "splits"}
            tops = [path for place in (".work", "audit", "splits") for path in (folder / place).iterdir()]
            assert not [path for path in tops if path.stat().st_mode & 0o077]
    assert _next_command(folder, monkeypatch, *words).count("removed; an earlier run had left it") == 3
    assert _kept(folder) == []


def test_doctor_names_what_is_left_and_removes_nothing(tmp_path: Path) -> None:
    from angiosynth.verbs.privacy_on_disk import left_behind

    (tmp_path / "dvc.yaml").touch()
    places = [".work/held-out", ".work/sweeps/mine/3", "data/raw/site-a", "models/generators/dcgan", "params.yaml"]
    lefts = []
    for place in places:
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        path, handle = claim(tmp_path / place, folder=True)
        assert handle is not None
        os.close(handle)  # as the kernel does when a process dies
        lefts.append(path)
    with scratch_folder(tmp_path / "report" / "alive"):
        found = [finding.result.split()[0] for finding in left_behind(tmp_path)]
    assert sorted(found) == sorted(str(path.relative_to(tmp_path)) for path in lefts)
    assert all(path.is_dir() for path in lefts)


def test_an_old_folder_that_was_put_aside_comes_back_at_the_next_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dvc.yaml").touch()
    aside = beside(tmp_path / "data" / "raw" / "site-a", REPLACED)
    aside.mkdir(parents=True)
    assert "site-a: restored" in _next_command(tmp_path, monkeypatch, "summary", "--show")
    assert (tmp_path / "data" / "raw" / "site-a").is_dir()
    assert not aside.exists()


def test_outside_of_a_project_nothing_is_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stranger's folder without dvc.yaml, in which something of such a name lies and which is open."""
    left = beside(tmp_path / "data" / "x", PARTIAL)
    left.mkdir(parents=True)
    left.parent.chmod(0o755)
    _next_command(tmp_path, monkeypatch, "summary", "--show")
    assert left.is_dir()
    assert left.parent.stat().st_mode & 0o777 == 0o755


@pytest.mark.slow
@pytest.mark.long
def test_an_audit_that_is_asked_to_end_leaves_no_patch(reproduced: Path) -> None:
    """While patches of held-out patients lie on the disk."""
    words = [sys.executable, "cli.py", "audit", "--model", "wgan-gp"]
    process = subprocess.Popen(words, cwd=reproduced, env=_environment() | {"ANGIOSYNTH_TRACKING": "off"})
    try:
        _wait_until(lambda: any((reproduced / ".work").glob(".partial-*/patches/image.npy")), 120)
        assert not [path for path in (reproduced / ".work").glob(".partial-*") if path.stat().st_mode & 0o077]
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 128 + signal.SIGTERM
    finally:
        process.kill()
    assert [path for name in (".work", "audit") for path in (reproduced / name).rglob(".partial-*")] == []
    assert (reproduced / "audit" / "wgan-gp" / "audit.json").is_file(), "the one before is as it was"


def _goes_round(text: str) -> list[str]:
    """Uses of the system's temporary folder for what has a name there."""
    names = {"mkdtemp", "mkstemp", "NamedTemporaryFile", "TemporaryDirectory", "SpooledTemporaryFile", "mktemp"}
    nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, (ast.Attribute, ast.Name, ast.alias))]
    return [name for node in nodes if (name := getattr(node, "attr", getattr(node, "id", getattr(node, "name", "")))) in names]


def test_no_module_goes_round_the_scratch_folder() -> None:
    files = list((ROOT / "src").rglob("*.py"))
    assert len(files) > 80
    assert {path.name: found for path in files if (found := _goes_round(path.read_text(encoding="utf-8")))} == {}
    assert _goes_round("import tempfile\nwith tempfile.TemporaryDirectory() as x: pass") == ["TemporaryDirectory"]
    assert _goes_round("from tempfile import mkdtemp") == ["mkdtemp"]
