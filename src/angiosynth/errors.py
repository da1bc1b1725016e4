"""Exception for unusable input, and escaping of text for terminals."""

from __future__ import annotations

import re
from collections.abc import Iterable

# Invisible characters that Unicode classifies as letters and marks: fillers, joiners, variation selectors, tags.
UNSEEN = "\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0000-\U000e0fff"
SUSPECT = re.compile(rf"[^ -~\u00a1-\u02ff]|[\u00ad{UNSEEN}]")


class InputError(Exception):
    """Unusable input. The message is one line that names the file or option, the fault and the cure.

    The command line prints it without a traceback and exits with 2. Each further fault is another text, printed on a separate, indented
    line. `str` escapes line ends and control characters, which file names may contain.
    """

    def __init__(self, text: str, *more: str) -> None:
        super().__init__(text, *more)
        self.lines = (text, *more)

    def __str__(self) -> str:
        return "\n  ".join(printable(line) for line in self.lines)


def printable(text: str) -> str:
    """Escape all characters of a line that are neither visible nor a space, so that a terminal shows it as one line.

    Names of files, keys and packages may contain control characters (line ends, escape sequences), marks that reverse the writing
    direction, zero-width characters, and unpaired surrogates.
    """
    return SUSPECT.sub(_escaped, text)


def printable_lines(lines: Iterable[str]) -> str:
    """Join lines, each escaped by `printable`."""
    return "\n".join(map(printable, lines))


def _escaped(match: re.Match[str]) -> str:
    character = match[0]
    if character.isprintable() and not re.match(f"[{UNSEEN}]", character):
        return character
    return character.encode("unicode_escape").decode("ascii")
