"""Progress off a terminal and on one."""

from __future__ import annotations

import io
import sys

import pytest

from angiosynth.runtime import progress as module
from angiosynth.runtime.progress import print_anything, progress, say, tell


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


def test_time_left_counts_what_each_item_is_expected_to_take(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "time", Clock(30.0))
    list(progress("ab", "work", 2, shares=[3, 1]))
    assert capsys.readouterr().err.splitlines()[0] == "work: 1/2, 10 s left"


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


ODD = {
    "new\nline": "new\\nline",
    "tab\tand\x1b[31mred": "tab\\tand\\x1b[31mred",
    "right-to-left \u202e": "right-to-left \\u202e",
    "Müller": "Müller",
    "Mu\u0308ller": "Mu\u0308ller",
    "[x] 100% {a} 😀": "[x] 100% {a} 😀",
    "a\n  fault of b": "a\\n  fault of b",
}


@pytest.mark.parametrize(("text", "expected"), ODD.items())
def test_one_line_stays_one_line(text: str, expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Neighbours: ends of lines, escapes that colour a terminal or turn text round, Unicode forms, markup, what looks like a list."""
    say(text)
    assert capsys.readouterr().err == f"{expected}\n"


def test_a_table_keeps_its_lines(capsys: pytest.CaptureFixture[str]) -> None:
    tell("a  b", "\x07c  d")
    assert capsys.readouterr().out == "a  b\n\\x07c  d\n"


def test_what_the_terminal_has_no_sign_for_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    with pytest.raises(UnicodeEncodeError):
        tell("Müller")
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    print_anything()
    tell("Müller lat\udcfcin")
    assert raw.getvalue() == b"M\\xfcller lat\\udcfcin\n"


def test_a_name_in_brackets_is_shown_on_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    list(progress([1], "segment [bold] [/x]\n", 1))
    assert "segment [bold] [/x]\\n" in terminal.getvalue()
