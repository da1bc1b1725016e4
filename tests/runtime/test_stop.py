"""SIGTERM is noted, not obeyed at once."""

from __future__ import annotations

import os
import signal
import threading

from angiosynth.runtime.stop import EXIT_CODE, heeding_sigterm


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
