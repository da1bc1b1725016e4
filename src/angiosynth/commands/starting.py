"""Define the commands that make a project folder: new, demo."""

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
    folder: Annotated[Path, typer.Argument(help="The folder to make; with --upgrade, an existing project.")] = Path(),
    profile: Annotated[str, typer.Option("--profile", help="The settings: real, or quick for a first run of minutes.")] = "real",
    upgrade: Annotated[
        bool, typer.Option("--upgrade", help="Copy the installed package's code into an existing project; settings and data stay.")
    ] = False,
) -> None:
    """Make a project folder for your own scans, readable by you only: dvc.yaml, params.yaml, cli.py and a copy of the code.

    No clone of the repository is needed. The stages depend on the copy of the code in src/angiosynth. After the installation of a newer
    angiosynth, `angiosynth new --upgrade` in the folder replaces the copy, and the stages whose code has changed run again. Example:

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
    """Make a project folder with the demo's settings. It needs no scans: the phantom simulates heads with vessels.

    Example; the second line takes about 13 minutes on two cores:

    angiosynth demo -o demo

    cd demo; python cli.py repro
    """
    from angiosynth.project.new_project import new_project

    new_project(folder, "demo")
    tell(f"{folder}: is a project with the demo's settings. Next: {_typed(folder, 'python cli.py repro')}")


def _typed(folder: Path, command: str) -> str:
    """Return a shell line that runs a command in the project's folder. It sets PATH if `python` is not this interpreter."""
    line = f"cd {shlex.quote(str(folder))}; {command}"
    return line if path_has_own_python() else f'export PATH={shlex.quote(str(own_programs()))}:"$PATH"; {line}'
