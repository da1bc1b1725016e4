"""Heeding SIGTERM, which batch systems send some seconds before they kill."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_CODE = 128 + signal.SIGTERM


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
