"""Report errors in the command line's arguments as one line, like other input errors."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from typer.core import TyperGroup

from angiosynth.runtime.progress import say


class Commands(TyperGroup):
    """The group of all commands. It escapes control characters of the arguments, which Typer would print and a terminal would obey."""

    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, prog_name: str | None = None, *, standalone_mode: bool = True, **more: Any
    ) -> Any:
        """Run a command.

        Raises:
            SystemExit: with the command's exit code; 2 if the arguments are invalid.
        """
        arguments: Any = {"args": args, "prog_name": prog_name, **more}
        try:
            code = super().main(**arguments, standalone_mode=False)
        except Exception as error:
            if not standalone_mode or not hasattr(error, "format_message"):
                raise  # Typer's usage errors have format_message; their class is not public
            if type(error).__name__ != "NoArgsIsHelpError":  # no arguments at all: Typer has printed the help
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
