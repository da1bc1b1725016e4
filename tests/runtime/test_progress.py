"""Progress off a terminal and on one."""

from __future__ import annotations

import io
import sys

import pytest

from angiosynth.runtime import progress as module
from angiosynth.runtime.progress import progress, say


class Clock:
    """A clock that goes on by a fixed time whenever it is asked."""

    def __init__(self, step: float) -> None:
        self.now, self.step = 0.0, step

    def monotonic(self) -> float:
        self.now += self.step
        return self.now


def test_items_pass_through_and_quick_work_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress("abc", "letters", 3)) == ["a", "b", "c"]
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_slow_work_tells_how_far_it_is_and_how_long_it_takes(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "time", Clock(30.0))
    list(progress(range(4), "work", 4))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "work: 1/4, 1:30 min left",
        "work: 2/4, 1:00 min left",
        "work: 3/4, 30 s left",
        "work: 4/4, 0 s left",
        "work: 4/4 in 2:30 min",
    ]


def test_work_that_goes_on_counts_what_was_done(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "time", Clock(30.0))
    list(progress(range(8, 10), "work", 10, done=8))
    assert capsys.readouterr().err.splitlines()[0] == "work: 9/10, 30 s left"


def test_lines_are_seldom(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "time", Clock(4.0))
    list(progress(range(30), "work", 30))
    assert len(capsys.readouterr().err.splitlines()) == 11  # one every 12 s of 120, and the end


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert list(progress(range(3), "some work", 5, done=2)) == [0, 1, 2]
    assert "some work" in terminal.getvalue()
    assert "5/5" in terminal.getvalue()


def test_say_speaks_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    say("hello")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "hello\n")
