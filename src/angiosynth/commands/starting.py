"""The commands that make a project folder: new, demo."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from angiosynth.runtime.programs import own_programs, path_has_own_python
from angiosynth.runtime.progress import tell


def add_to(commands: typer.Typer) -> None:
    """Register the two commands."""
    commands.command()(new)
    commands.command()(demo)


def new(
    folder: Annotated[Path, typer.Argument(help="The folder to make; with --upgrade the project.")] = Path(),
    profile: Annotated[str, typer.Option("--profile", help="The settings: real, or quick for a first walk of minutes.")] = "real",
    upgrade: Annotated[
        bool, typer.Option("--upgrade", help="Bring the installed package's code into a project that is there; settings and data stay.")
    ] = False,
) -> None:
    """Make a project folder for scans of your own: dvc.yaml, params.yaml, cli.py and a copy of the code, for your eyes alone.

    No clone of the repository is needed. The stages depend on the copy of the code in src/angiosynth; after a newer angiosynth was
    installed, `angiosynth new --upgrade` in the folder replaces the copy, and what it changes runs again. An example:

    angiosynth new vessels
    """
    from angiosynth.project import new_project

    if upgrade:
        new_project.upgrade(folder)
        tell(f"{folder}: has the code of the installed package now; look at `git diff`, then run `python cli.py repro`")
        return
    new_project.new_project(folder, profile)
    command = "python cli.py import /where/scans/are --scan '*_tof' --vessels '*_vessels' --brain '*_brain' --dry-run"
    tell(f"{folder}: is a project. Next: {_typed(folder, command)}")


def demo(
    folder: Annotated[Path, typer.Option("--output", "-o", help="The folder to make.")],
) -> None:
    """Make a project folder with the demo's settings, which needs no scans: heads with vessels are drawn.

    An example, the second line about a quarter of an hour on two cores:

    angiosynth demo -o demo

    cd demo; python cli.py repro
    """
    from angiosynth.project.new_project import new_project

    new_project(folder, "demo")
    tell(f"{folder}: is a project with the demo's settings. Next: {_typed(folder, 'python cli.py repro')}")


def _typed(folder: Path, command: str) -> str:
    """A line for the shell that runs a command of a project; with the PATH that it needs where `python` is another one."""
    line = f"cd {shlex.quote(str(folder))}; {command}"
    return line if path_has_own_python() else f'export PATH={shlex.quote(str(own_programs()))}:"$PATH"; {line}'
