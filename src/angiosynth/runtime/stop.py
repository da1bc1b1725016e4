"""The end of a process: after its command, and by signals (SIGTERM, which batch systems send some seconds before SIGKILL, Ctrl-C)."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn

EXIT_CODE = 128 + signal.SIGTERM
# Including signals of batch systems; Windows has only the first.
NAMES = ("SIGTERM", "SIGHUP", "SIGXCPU", "SIGQUIT", "SIGUSR1", "SIGUSR2")
ENDING: tuple[signal.Signals, ...] = tuple(getattr(signal, name) for name in NAMES if hasattr(signal, name))


class Terminated(SystemExit):
    """Exit caused by a signal; the exit code is 128 plus the number of the signal, as in shells."""


class _Pending:
    """Number of active `uninterrupted` blocks, and the signal that waits for their end."""

    depth = 0
    number: int | None = None


def end_with(run: Callable[[], object]) -> NoReturn:
    """Call a function and end the process with the status of its SystemExit, or 0; other exceptions propagate.

    Threads are joined, functions of atexit called and streams flushed, as by Python. Objects are not destroyed: with torch and MLflow
    imported that takes a second, and in a fork it copies the memory that is shared with the server.
    """
    status = 0
    try:
        run()
    except SystemExit as error:
        if isinstance(error.code, str):
            raise
        status = error.code or 0
    threads: Any = threading
    threads._shutdown()
    atexit._run_exitfuncs()
    with suppress(OSError, ValueError):  # a full disk or a closed pipe: Python flushes again, and reports it
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(status)
    raise SystemExit(status)


def end_in_order() -> None:
    """Let signals that would kill the process raise an exception, as Ctrl-C does, so that temporary files are removed.

    Ignored signals stay ignored, as under `nohup`. Must be called in the main thread.
    """
    for number in (signal.SIGINT, *ENDING):
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _end)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Delay signals of `end_in_order` until the block has ended. For short operations, such as creating or removing a temporary file."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python delivers signals only to the main thread
        return
    _Pending.depth += 1
    try:
        yield
    finally:
        _Pending.depth -= 1
        if not _Pending.depth and (number := _Pending.number) is not None:
            _Pending.number = None
            _end(number, None)


@contextmanager
def heeding_sigterm() -> Iterator[Callable[[], bool]]:
    """Yield a function that tells whether SIGTERM was received, to be called between steps. SIGTERM does not end the process meanwhile.

    Signals reach only the main thread; in other threads the function always returns False.
    """
    sent = threading.Event()

    def note(number: int, frame: FrameType | None) -> None:
        del number, frame
        sent.set()

    if threading.current_thread() is not threading.main_thread():
        yield sent.is_set
        return
    before = signal.signal(signal.SIGTERM, note)
    try:
        yield sent.is_set
    finally:
        signal.signal(signal.SIGTERM, before)


def _end(number: int, frame: FrameType | None) -> None:
    del frame
    if _Pending.depth:
        _Pending.number = number
    elif number == signal.SIGINT:
        raise KeyboardInterrupt
    else:
        raise Terminated(128 + number)
