"""Command line: assembles the groups of commands and turns errors into one line and an exit code."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path

import typer

from angiosynth.commands import data, searching, sharing, starting, tools, training
from angiosynth.commands.group import Commands
from angiosynth.errors import InputError
from angiosynth.runtime.faults import fault_line
from angiosynth.runtime.leftovers import clear_project
from angiosynth.runtime.machine import heed_quota
from angiosynth.runtime.memory import collect_garbage_seldom, keep_freed_memory
from angiosynth.runtime.private import close_places, write_for_the_user_alone
from angiosynth.runtime.progress import print_anything, say
from angiosynth.runtime.secrets import hide_secrets_in_tracebacks_and_logs
from angiosynth.runtime.stop import Terminated, end_in_order

commands = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Share what brain-vessel scans teach without sharing the scans. Each command is a stage of dvc.yaml and reads params.yaml; "
    "`dvc repro` runs what has changed, in order.",
)


@commands.callback()
def before_each(context: typer.Context) -> None:
    if context.invoked_subcommand != "doctor":  # doctor reports both
        close_places(Path())
        clear_project(Path())


for group in (starting, data, training, sharing, searching, tools):
    group.add_to(commands)


def app(run: Callable[[], object] = commands) -> None:
    """Run a command. Unusable input gives one line and exit code 2, Ctrl-C exit code 130, another signal 128 plus its number."""
    write_for_the_user_alone()
    end_in_order()
    keep_freed_memory()
    collect_garbage_seldom()
    hide_secrets_in_tracebacks_and_logs()
    heed_quota()
    print_anything()
    logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)  # data.nifti reports faulty headers
    try:
        run()
    except InputError as error:
        say(*f"angiosynth: {error}".split("\n"))
        sys.exit(2)
    except OSError as error:
        say(f"angiosynth: {fault_line(error)}")
        sys.exit(2)
    except MemoryError:
        say("angiosynth: there is not enough memory; close other programs, or lower the sizes in params.yaml, then run again")
        sys.exit(2)
    except KeyboardInterrupt:
        say("angiosynth: stopped; what was finished is kept")
        sys.exit(130)
    except Terminated:
        say("angiosynth: stopped; what was finished is kept")
        raise
