"""A command that the warm server runs is, to its caller, the command itself; what does not suit is run by the caller."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from angiosynth.runtime.handover import VARIABLE
from angiosynth.runtime.warm import LIBRARIES, warm_server

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="the warm server needs Linux"), pytest.mark.waits]
# The first changes with each test; the second is set by torch's compiler where some test has imported it, and no shell has it.
NOT_OF_A_SHELL = {"PYTEST_CURRENT_TEST", "TORCHINDUCTOR_CACHE_DIR"}
# In the place of the command line: does what its arguments say.
APP = """
import json, os, signal, sys, time
def app():
    try:
        work()
    except KeyboardInterrupt:
        sys.exit(130)
def work():
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")
    for word in sys.argv[1:]:
        name, _, value = word.partition("=")
        if name == "facts":
            umask = os.umask(0)
            os.umask(umask)
            here = {"words": sys.argv, "folder": os.getcwd(), "umask": umask, "path": sys.path[:2], "group": os.getpgrp(),
                    "environment": dict(os.environ), "input": sys.stdin.read(), "terminal": sys.stdout.isatty(),
                    "text": [(one.encoding, one.errors, one.line_buffering) for one in (sys.stdin, sys.stdout, sys.stderr)]}
            print(json.dumps(here))
        if name == "pid":
            print(os.getpid(), flush=True)
        if name == "error":
            print(value, file=sys.stderr)
        if name == "exit":
            sys.exit(int(value))
        if name == "kill":
            os.kill(os.getpid(), int(value))
        if name == "sleep":
            time.sleep(float(value))
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a small command line, in a folder whose path is longer than a socket's may be."""
    root = tmp_path_factory.mktemp("project") / ("long" * 25)
    shutil.copytree(ROOT / "src", root / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    shutil.copy(ROOT / "cli.py", root / "cli.py")
    (root / "src" / "angiosynth" / "cli.py").write_text(APP)
    (root / "src" / "with_a_thread.py").write_text(
        "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()"
    )
    return root


def _serving(root: Path, *libraries: str) -> AbstractContextManager[dict[str, str]]:
    return warm_server(root, libraries, _environment({}))


@pytest.fixture(scope="module")
def server(project: Path) -> Iterator[dict[str, str]]:
    with _serving(project) as variables:
        assert variables
        yield variables


Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(project: Path, server: dict[str, str]) -> Start:
    """Start a command, with the server unless its variables are given."""

    def begin(*words: str, variables: dict[str, str] | None = None, **more: Any) -> subprocess.Popen[str]:
        environment = _environment(server if variables is None else variables)
        streams: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen([sys.executable, str(project / "cli.py"), *words], env=environment, text=True, **streams, **more)

    return begin


def _environment(variables: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in NOT_OF_A_SHELL} | variables


def _pid(process: subprocess.Popen[str]) -> int:
    """Of the process that runs the command."""
    assert process.stdout is not None
    return int(process.stdout.readline())


def _gone(pid: int) -> bool:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if not Path(f"/proc/{pid}").exists() or "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text():
            return True
        time.sleep(0.02)
    return False


def test_it_has_all_that_the_caller_has(start: Start, server: dict[str, str], tmp_path: Path) -> None:
    outcomes = []
    for variables in (server, {VARIABLE: ""}):
        words = ("facts", "error=e\u0308", "exit=7")
        process = start(*words, cwd=tmp_path, umask=0o027, variables=variables | {"DVC_STAGE": "a"}, process_group=0)
        output, error = process.communicate("typed")
        facts = json.loads(output)
        assert facts["environment"].pop(VARIABLE, "") == variables[VARIABLE]
        assert facts.pop("group") == process.pid
        outcomes.append((facts, error, process.returncode))
    for name, value in outcomes[1][0].items():
        assert outcomes[0][0][name] == value, name
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][0]["input"] == "typed"
    assert outcomes[0][2] == 7


def test_it_is_another_process_with_a_server_and_the_same_without(start: Start) -> None:
    for variables, same in ((None, False), ({VARIABLE: ""}, True), ({VARIABLE: "/nowhere/socket"}, True)):
        process = start("pid", variables=variables)
        assert (_pid(process) == process.pid) is same
        assert process.wait(20) == 0


def test_a_variable_that_a_library_may_have_read_is_not_handed_over(start: Start, server: dict[str, str]) -> None:
    for name, same in (("OMP_NUM_THREADS", True), ("ONEDNN_MAX_CPU_ISA", True), ("ANGIOSYNTH_TRACKING", False), ("DVC_ROOT", False)):
        process = start("pid", variables=server | {name: "13"})
        assert (_pid(process) == process.pid) is same, name
        process.wait(20)


def test_another_checkouts_command_and_another_sessions_run_by_themselves(start: Start, server: dict[str, str], project: Path) -> None:
    process = start("pid", start_new_session=True)
    assert _pid(process) == process.pid
    process.wait(20)
    other = project.with_name("other")
    shutil.copytree(project, other, ignore=shutil.ignore_patterns(".work"))
    words = [sys.executable, str(other / "cli.py"), "pid"]
    with subprocess.Popen(words, env=_environment(server), stdout=subprocess.PIPE, text=True) as alone:
        assert _pid(alone) == alone.pid


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_signals_are_passed_on(start: Start, number: int) -> None:
    process = start("pid", "sleep=60")
    pid = _pid(process)
    process.send_signal(number)
    assert process.wait(20) == -number
    assert _gone(pid)


def test_a_killed_callers_command_is_killed(start: Start) -> None:
    process = start("pid", "sleep=60")
    pid = _pid(process)
    process.kill()
    assert _gone(pid)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_it_dies_as_its_command_dies(start: Start, number: int) -> None:
    assert start(f"kill={int(number)}").wait(20) == -number


def test_ctrl_c_at_the_terminal_reaches_it_once(start: Start) -> None:
    # A shell's background jobs, as these tests may be, ignore Ctrl-C.
    process = start("pid", "sleep=60", process_group=0, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    _pid(process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    assert process.wait(20) == 130


def test_what_the_caller_ignores_it_ignores(start: Start) -> None:
    process = start("pid", "sleep=1", "exit=4", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN), process_group=0)  # nohup
    _pid(process)
    os.killpg(process.pid, signal.SIGHUP)
    assert process.wait(20) == 4


def test_several_at_the_same_time(start: Start) -> None:
    slow = start("pid", "sleep=60")
    pid = _pid(slow)
    assert start("exit=3").wait(20) == 3
    assert slow.poll() is None
    slow.terminate()
    slow.wait(20)
    assert _gone(pid)


def test_a_change_of_the_code_counts_from_the_next_command_on(start: Start, project: Path) -> None:
    module = project / "src" / "angiosynth" / "cli.py"
    try:
        module.write_text(APP.replace("int(value)", "int(value) + 1"))
        assert start("exit=3").wait(20) == 4
    finally:
        module.write_text(APP)
        os.utime(module, (0, 0))  # a cached compilation is told by time and size
    assert start("exit=3").wait(20) == 3


def test_the_end_of_the_server_ends_its_commands_in_order(start: Start, project: Path) -> None:
    with _serving(project) as variables:
        process = start("pid", "sleep=60", variables=variables)
        pid = _pid(process)
    assert _gone(pid)
    assert process.wait(20) == -signal.SIGTERM
    assert list((project / ".work").glob(f"*{Path(variables[VARIABLE]).parent.name}*")) == []


def test_a_killed_server_is_a_line(start: Start, project: Path) -> None:
    with _serving(project) as variables:
        process = start("pid", "sleep=1", variables=variables)
        parent = Path(f"/proc/{_pid(process)}/stat").read_text().rpartition(")")[2].split()[1]
        os.kill(int(parent), signal.SIGKILL)
        _, error = process.communicate(timeout=20)
        assert (process.returncode, error) == (1, "angiosynth: the process that ran this command was killed; run it again\n")
        assert start("exit=5", variables=variables).wait(20) == 5  # by itself


def test_no_fork_of_a_process_with_threads(start: Start, project: Path) -> None:
    with _serving(project, "with_a_thread") as variables:
        process = start("pid", variables=variables)
        assert _pid(process) == process.pid
        process.wait(20)


@pytest.mark.long
def test_a_fork_computes_as_a_process_of_its_own(tmp_path: Path) -> None:
    """The libraries start no thread of Python's, and those that they do start come anew: products, a training step, a filter."""
    work = """
import json, os, sys
def app():
    import numpy as np, torch
    from scipy import ndimage
    torch.manual_seed(0)
    network = torch.nn.Conv2d(1, 32, 3)
    network(torch.randn(8, 1, 64, 64)).square().sum().backward()
    a = np.random.default_rng(0).normal(size=(400, 400))
    values = network.weight.grad.double().sum().item(), float((a @ a).sum()), float(ndimage.gaussian_filter(a, 3)[7, 7])
    print(json.dumps([os.getpid(), *values]))
"""
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    shutil.copy(ROOT / "cli.py", tmp_path)
    (tmp_path / "src" / "angiosynth" / "cli.py").write_text(work)
    with _serving(tmp_path, *LIBRARIES) as variables:
        outcomes = []
        for one in (variables, {VARIABLE: ""}):
            words = [sys.executable, str(tmp_path / "cli.py")]
            with subprocess.Popen(words, env=_environment(one), stdout=subprocess.PIPE, text=True) as process:
                pid, *values = json.loads(process.communicate(timeout=120)[0])
            outcomes.append((pid == process.pid, values))
    assert outcomes[0][1] == outcomes[1][1]
    assert [same for same, _ in outcomes] == [False, True]
