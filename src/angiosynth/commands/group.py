"""Errors in the command line's arguments as one line, like those of any other input."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from typer.core import TyperGroup

from angiosynth.runtime.progress import say


class Commands(TyperGroup):
    """The group of all commands. typer would print control characters among the arguments as they are, and a terminal obey them."""

    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, prog_name: str | None = None, *, standalone_mode: bool = True, **more: Any
    ) -> Any:
        """Run a command.

        Raises:
            SystemExit: with the command's exit code; 2 where the arguments are wrong.
        """
        words: Any = {"args": args, "prog_name": prog_name, **more}
        try:
            code = super().main(**words, standalone_mode=False)
        except Exception as error:
            if not standalone_mode or not hasattr(error, "format_message"):
                raise  # typer's errors about words have it; their class is none of its public ones
            if type(error).__name__ != "NoArgsIsHelpError":  # no word at all: the help is printed already
                say(_line(error))
            sys.exit(getattr(error, "exit_code", 2))
        if not standalone_mode:
            return code
        sys.exit(code if isinstance(code, int) else 0)


def _line(error: Any) -> str:
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "angiosynth"
    reason = " ".join(str(error.format_message()).split("\n")).rstrip(".")
    return f"angiosynth: {reason}; see `{command} --help`"
