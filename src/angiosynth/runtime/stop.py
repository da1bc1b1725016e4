"""Signals that end a process: SIGTERM, which batch systems send some seconds before they kill, Ctrl-C, a terminal that is closed."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_CODE = 128 + signal.SIGTERM
# What batch systems send, too; Windows has the first alone.
NAMES = ("SIGTERM", "SIGHUP", "SIGXCPU", "SIGQUIT", "SIGUSR1", "SIGUSR2")
ENDING: tuple[signal.Signals, ...] = tuple(getattr(signal, name) for name in NAMES if hasattr(signal, name))


class Terminated(SystemExit):
    """A signal has ended the process; its code is the shell's, 128 and the signal's number."""


class _Pending:
    """How many `uninterrupted` blocks are being run, and the signal that waits for their end."""

    depth = 0
    number: int | None = None


def end_in_order() -> None:
    """Let signals that would kill the process end it as Ctrl-C does, so that its temporary files are removed.

    A signal that is ignored stays so, as under `nohup`. Call it in the main thread.
    """
    for number in (signal.SIGINT, *ENDING):
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _end)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Signals of `end_in_order` wait until the block is done. For short operations: a removal, or a claim that must be remembered."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals never reach it
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
    """A question, "was SIGTERM sent?", to be asked between two steps; the signal itself no longer ends the process.

    Signals reach the main thread only; in any other the answer is always no.
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
