"""Define the commands that search settings: sweep, sweep-worker, sweep-apply."""

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


Study = Annotated[str, typer.Option("--study", help="The study's name, as `sweep` prints it.")]


def add_to(commands: typer.Typer) -> None:
    """Register the three commands."""
    commands.command()(sweep)
    commands.command("sweep-worker")(sweep_worker)
    commands.command("sweep-apply")(sweep_apply)


def sweep(
    model: Model,
    trials: Annotated[int, typer.Option("--trials", min=1, help="Number of trials of the study, including existing ones.")] = 20,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Number of parallel processes, which share the cores.")] = 1,
    study: Annotated[
        str | None, typer.Option("--study", help="The study's name. The default is derived from settings, ranges and data.")
    ] = None,
    params: Params = PARAMS,
) -> None:
    """Search a generator's settings with Optuna: maximise DSC and minimise 95HD on validation patients. Test patients are never read.

    A trial is a short training, set by section `sweep`. A study that was killed continues when it is started again, and repeats the
    interrupted trial.
    """
    settings = settings_of(params)  # before the slow imports
    from angiosynth.project.workspace import Workspace
    from angiosynth.verbs import sweep as trial

    result = trial.sweep(settings, Workspace(), one_of(settings, "--model", model), trials, study, workers)
    tell(*trial.result_table(result).split("\n"))
    if result.interrupted:
        raise typer.Exit(130)


def sweep_worker(study: Study, params: Params = PARAMS) -> None:
    """Run trials of a study that `sweep` has started, in parallel with it, until all trials are done.

    Example, in a second terminal: python cli.py sweep-worker --study NAME-1a2b3c4d
    Workers on other machines need a PostgreSQL database, named by ANGIOSYNTH_STUDIES (docs/team.md).
    """
    from angiosynth.project.workspace import Workspace
    from angiosynth.verbs import sweep as trial

    tell(f"study {study}: {trial.sweep_worker(settings_of(params), Workspace(), study)} trials done")


def sweep_apply(
    study: Study,
    number: Annotated[int | None, typer.Option("--trial", min=0, help="Use this trial instead of a point of the front.")] = None,
    rule: Annotated[RuleName, typer.Option("--rule", help="Rule that selects a point of the Pareto front.")] = RuleName.knee,
    params: Params = PARAMS,
) -> None:
    """Write the best point of a study into params.yaml and keep its comments. `dvc repro` then trains only this generator in full.

    The knee is the point of the Pareto front with the best sum of both scores, each scaled to the front's range.
    """
    from angiosynth.verbs import sweep as trial

    tell(*trial.sweep_apply(params, study, number, rule.value).split("\n"))
