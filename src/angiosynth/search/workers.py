"""Run a job in several processes, each with a fraction of the cores."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from typing import TypeVar

from angiosynth.errors import InputError
from angiosynth.runtime.machine import cpu_count
from angiosynth.runtime.memory import collect_garbage_seldom, keep_freed_memory
from angiosynth.runtime.private import write_for_the_user_alone
from angiosynth.runtime.progress import say
from angiosynth.runtime.secrets import hide_secrets_in_tracebacks_and_logs
from angiosynth.runtime.stop import end_in_order, end_with, uninterrupted

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
SLICE_S = 1.0  # longest wait after which a signal is handled
J = TypeVar("J")


@dataclass(frozen=True)
class Pace:
    """Intervals in seconds: between heartbeats, until a trial without heartbeat counts as killed, between polls for a new trial."""

    heartbeat_s: int = 30
    grace_s: int = 120
    poll_s: float = 2.0


DEFAULT_PACE = Pace()


def with_workers(target: Callable[[J], None], job: J, workers: int) -> None:
    """Run `target(job)` in several processes and wait for all. If one is killed this is reported, and the others continue.

    Ctrl-C or a terminating signal is forwarded to each worker once, and raised again when all have ended.
    """
    context = multiprocessing.get_context("spawn")  # a fork would inherit torch's and SQLAlchemy's threads
    processes: list[BaseProcess] = []
    try:
        with _threads(max(1, cpu_count() // workers)):
            for number in range(1, workers + 1):
                processes.append(context.Process(target=_worker, args=(target, job), name=f"worker {number}"))
                with uninterrupted():  # otherwise a signal could arrive before the process is known and not be forwarded to it
                    processes[-1].start()
        for process in processes:
            _wait_for(process)
    except (KeyboardInterrupt, SystemExit) as error:
        number = signal.SIGINT if isinstance(error, KeyboardInterrupt) else signal.SIGTERM
        started = [process for process in processes if process.pid]
        for process in started:
            if process.is_alive():
                os.kill(process.pid or 0, number)
        for process in started:
            _wait_for(process)
        raise
    for process in processes:
        if process.exitcode:
            say(f"{process.name}: {f'killed by signal {-process.exitcode}' if process.exitcode < 0 else 'ended on a fault'}")


def _wait_for(process: BaseProcess) -> None:
    """Wait for the end of a process, in slices: Python handles a signal that arrives just before a system call only after that call."""
    while process.is_alive():
        process.join(SLICE_S)


def _worker(target: Callable[[J], None], job: J) -> None:
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)  # so that Ctrl-C reaches only the parent, which forwards it once
    write_for_the_user_alone()
    end_in_order()
    keep_freed_memory()
    collect_garbage_seldom()
    hide_secrets_in_tracebacks_and_logs()
    end_with(lambda: _run(target, job))


def _run(target: Callable[[J], None], job: J) -> None:
    try:
        target(job)
    except InputError as error:
        say(*str(error).split("\n"))
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:  # multiprocessing would print it without removing secrets
        sys.excepthook(type(error), error, error.__traceback__)
        sys.exit(1)


@contextmanager
def _threads(share: int) -> Iterator[None]:
    """Limit the threads of processes that are started within this context; libraries read the variables when they are loaded."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, str(share)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
