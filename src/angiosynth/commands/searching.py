"""The commands that search settings: sweep, sweep-worker, sweep-apply."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from angiosynth.commands.options import PARAMS, Model, Params, one_of, settings_of
from angiosynth.runtime.progress import tell


class RuleName(StrEnum):
    knee = "knee"
    dsc = "dsc"
    hd95_mm = "hd95_mm"


Study = Annotated[str, typer.Option("--study", help="The study's name, as `sweep` says it.")]


def add_to(commands: typer.Typer) -> None:
    """Register the three commands."""
    commands.command()(sweep)
    commands.command("sweep-worker")(sweep_worker)
    commands.command("sweep-apply")(sweep_apply)


def sweep(
    model: Model,
    trials: Annotated[int, typer.Option("--trials", min=1, help="How many trials the study shall have, existing ones among them.")] = 20,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes at work at once; they share the cores.")] = 1,
    study: Annotated[
        str | None, typer.Option("--study", help="Its name. By default one for each set of settings, ranges and data.")
    ] = None,
    params: Params = PARAMS,
) -> None:
    """Search a generator's settings with Optuna: DSC up, 95HD down, on validation patients; test patients are never opened.

    A trial is a short training of section `sweep`. Killed and started again, the study goes on; a trial cut off is tried again.
    """
    settings = settings_of(params)  # before the slow imports
    from angiosynth.project.workspace import Workspace
    from angiosynth.verbs import sweep as trial

    result = trial.sweep(settings, Workspace(), one_of(settings, "--model", model), trials, study, workers)
    tell(*trial.result_table(result).split("\n"))
    if result.interrupted:
        raise typer.Exit(130)


def sweep_worker(study: Study, params: Params = PARAMS) -> None:
    """Work on a study that `sweep` has begun, beside it, until its trials are done.

    An example, in a second terminal: python cli.py sweep-worker --study NAME-1a2b3c4d
    On other machines it takes part where ANGIOSYNTH_STUDIES names a PostgreSQL database (docs/team.md).
    """
    from angiosynth.project.workspace import Workspace
    from angiosynth.verbs import sweep as trial

    tell(f"study {study}: {trial.sweep_worker(settings_of(params), Workspace(), study)} trials done")


def sweep_apply(
    study: Study,
    number: Annotated[int | None, typer.Option("--trial", min=0, help="Take this trial instead.")] = None,
    rule: Annotated[RuleName, typer.Option("--rule", help="How to choose from the Pareto front.")] = RuleName.knee,
    params: Params = PARAMS,
) -> None:
    """Write the best point of a study into params.yaml, comments kept; `dvc repro` then trains that generator at full length, and no other.

    The knee is the point of the Pareto front that gives most of both scores, each scaled to the front's range.
    """
    from angiosynth.verbs import sweep as trial

    tell(*trial.sweep_apply(params, study, number, rule.value).split("\n"))
