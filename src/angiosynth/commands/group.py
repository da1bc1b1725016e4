"""How the command line refuses words that it does not know: in one line, as any other input."""

from __future__ import annotations

import sys
from typing import Any

from typer.core import TyperGroup

from angiosynth.runtime.progress import say


class Commands(TyperGroup):
    """The group of all commands. typer's own messages repeat what was typed as it is, also to a terminal that would obey it."""

    def main(self, *args: Any, standalone_mode: bool = True, **words: Any) -> Any:
        """Run a command.

        Raises:
            SystemExit: with the command's exit code; 2 where the words are wrong.
        """
        if not standalone_mode:
            return super().main(*args, standalone_mode=False, **words)
        try:
            code = super().main(*args, standalone_mode=False, **words)
        except Exception as error:
            if not hasattr(error, "format_message"):  # typer's errors about words have it; their class is none of its public ones
                raise
            if type(error).__name__ != "NoArgsIsHelpError":  # no word at all: the help is printed already
                say(_line(error))
            sys.exit(getattr(error, "exit_code", 2))
        sys.exit(code if isinstance(code, int) else 0)


def _line(error: Any) -> str:
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "angiosynth"
    reason = " ".join(str(error.format_message()).split("\n")).rstrip(".")
    return f"angiosynth: {reason}; see `{command} --help`"
