"""The one exception that means: the input is wrong, and here is what to do about it."""

from __future__ import annotations

import re

# All but the end of a line that is followed by an indented one: a list of faults is told in one message.
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]|\n(?!  )")


class InputError(Exception):
    """Something a user gave is unusable. The text is one line: what, where, and what to do.

    The command line prints it without a traceback and exits with 2.
    """


def printable(text: str) -> str:
    """A message as a terminal may get it: control characters, which a file's name may hold, are escaped, so that one line stays one."""
    return CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)
