"""The one exception that means: the input is wrong, and here is what to do about it."""

from __future__ import annotations


class InputError(Exception):
    """Something a user gave is unusable. The text is one line: what, where, and what to do.

    The command line prints it without a traceback and exits with 2.
    """
