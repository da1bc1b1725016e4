"""SIGTERM is noted, not obeyed at once; a command ends as Python would end it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from angiosynth.runtime.stop import EXIT_CODE, heeding_sigterm

pytestmark = pytest.mark.waits

FULL = Path("/dev/full")


def test_sigterm_is_noted_and_what_was_there_before_comes_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with heeding_sigterm() as terminated:
        assert not terminated()
        os.kill(os.getpid(), signal.SIGTERM)
        assert terminated()
        assert terminated()  # asking does not forget
    assert signal.getsignal(signal.SIGTERM) == before
    with heeding_sigterm() as terminated:
        assert not terminated()


def test_sigterm_does_not_stop_another_thread() -> None:
    answers: list[bool] = []

    def ask() -> None:
        with heeding_sigterm() as terminated:
            answers.append(terminated())

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join(10)
    assert answers == [False]


def test_the_exit_code_is_the_shells() -> None:
    assert EXIT_CODE == 143


@pytest.mark.parametrize("end", ["pass", "sys.exit(7)", "sys.exit(-1)", "sys.exit('why')", "1 / 0", "sys.stdout.close()"])
@pytest.mark.parametrize("full_disk", [False, pytest.param(True, marks=pytest.mark.skipif(not FULL.exists(), reason="no /dev/full"))])
def test_a_command_ends_as_python_ends_it(end: str, full_disk: bool) -> None:
    """It leaves a thread that prints, a function of atexit, and a line in the buffer of standard output."""
    code = f"""
import atexit, sys, threading, time
from angiosynth.runtime.stop import end_with
def work():
    time.sleep(0.05)
    print("thread")
def run():
    atexit.register(print, "at exit", file=sys.stderr)
    threading.Thread(target=work).start()
    print("no new line", end="")
    {end}
"""
    expected = _outcome(f"{code}run()", full_disk)
    assert _outcome(f"{code}end_with(run)", full_disk) == expected
    assert b"at exit" in expected[2]


def _outcome(code: str, full_disk: bool = False) -> tuple[int, bytes | None, list[bytes]]:
    """Status, standard output, and standard error without the lines of code in tracebacks."""
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with ExitStack() as stack:
        output = stack.enter_context(FULL.open("wb")) if full_disk else subprocess.PIPE
        done = subprocess.run([sys.executable, "-c", code], stdout=output, stderr=subprocess.PIPE, env=buffered, check=False)
    return done.returncode, done.stdout, [line for line in done.stderr.splitlines() if not line.startswith(b"  ")]


def test_a_command_destroys_no_object_at_its_end() -> None:
    code = """
import os
from angiosynth.runtime.stop import end_with
class Kept:
    def __del__(self, write=os.write):
        write(1, b"destroyed")
kept = Kept()
"""
    assert _outcome(code)[1] == b"destroyed"
    assert _outcome(f"{code}end_with(print)")[1] == b"\n"
