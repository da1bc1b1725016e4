"""The one exception that means: the input is wrong, and here is what to do about it. And what of any text a terminal may get."""

from __future__ import annotations

import re
from collections.abc import Iterable

# Shown as nothing, though Unicode counts them as letters and marks: fillers, joiners, variants of other signs, tags.
UNSEEN = "\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0000-\U000e0fff"
SUSPECT = re.compile(rf"[^ -~\u00a1-\u02ff]|[\u00ad{UNSEEN}]")


class InputError(Exception):
    """Something a user gave is unusable. The text is one line: what, where, and what to do.

    The command line prints it without a traceback and exits with 2. Where there are several faults, each is one more text, printed on an
    indented line of its own. A name within a text makes no lines: `str` has it escaped.
    """

    def __init__(self, text: str, *more: str) -> None:
        super().__init__(text, *more)
        self.lines = (text, *more)

    def __str__(self) -> str:
        return "\n  ".join(printable(line) for line in self.lines)


def printable(text: str) -> str:
    """A line as a terminal may get it: a line.

    Escaped is all that is no visible character or space, since names of files, keys and packages may hold it: control characters (ends of
    lines, escape sequences), what turns the direction of writing round, what has no width, halves of surrogate pairs.
    """
    return SUSPECT.sub(_escaped, text)


def printable_lines(lines: Iterable[str]) -> str:
    """Lines as one text, in which nothing but their ends is the end of one."""
    return "\n".join(map(printable, lines))


def _escaped(match: re.Match[str]) -> str:
    character = match[0]
    if character.isprintable() and not re.match(f"[{UNSEEN}]", character):
        return character
    return character.encode("unicode_escape").decode("ascii")
