"""The stages' commands from train-generator to report, and repro, which runs what has changed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from angiosynth.commands.options import PARAMS, Data, Model, Params, Scored, Start, one_of, settings_of
from angiosynth.runtime.progress import tell


def add_to(commands: typer.Typer) -> None:
    """Register the ten commands."""
    commands.command()(repro)
    commands.command("train-generator")(train_generator)
    commands.command()(synthesize)
    commands.command("select-unet")(select_unet)
    commands.command("train-unet")(train_unet)
    commands.command()(evaluate)
    commands.command()(transfer)
    commands.command()(worth)
    commands.command()(summary)
    commands.command()(report)


def repro(
    targets: Annotated[
        list[str] | None, typer.Argument(metavar="[STAGE]...", help="Stages to run, and what they need; all without.")
    ] = None,
    jobs: Annotated[
        int,
        typer.Option("--jobs", "-j", min=0, max=256, help="Stages at a time; by default as many as there are cores for `threads` each."),
    ] = 0,
) -> None:
    """Run `dvc repro` on params.yaml, and say at its start and at every stage how long all stages will take on this machine.

    Stages that do not need each other run side by side where `threads` in params.yaml leaves cores for them. They run in forks of one
    process that has imported the libraries, which spares each of them some seconds. Results and exit code are those of `dvc repro`.
    """
    settings = settings_of(PARAMS)
    from angiosynth.verbs import repro as stages

    if code := stages.repro(settings, Path.cwd(), targets or [], jobs):
        raise typer.Exit(code)


def train_generator(model: Model, params: Params = PARAMS) -> None:
    """Train one generator on the source's training patches; validation patients choose the checkpoint.

    Killed and started again, it goes on at its last checkpoint. Writes models/generators/<model>.
    """
    settings = settings_of(params)  # before the slow imports
    from angiosynth.project.workspace import Workspace
    from angiosynth.stages import train_generator as stage

    stage.train_generator(settings, Workspace(), one_of(settings, "--model", model))


def synthesize(model: Model, params: Params = PARAMS) -> None:
    """Draw labelled synthetic patches from a trained generator into data/synthetic/<model>, with a card and a contact sheet."""
    settings = settings_of(params)  # before the slow imports
    from angiosynth.project.workspace import Workspace
    from angiosynth.stages import synthesize as stage

    stage.synthesize(settings, Workspace(), one_of(settings, "--model", model))


def select_unet(params: Params = PARAMS) -> None:
    """Choose the U-net's learning rate, dropout and augmentation on validation patients, from the lists of section `selection`.

    Trains a U-net on real patches for each combination; with one combination nothing is trained. Every U-net is then trained
    with the choice. Killed and started again, it redoes only what is missing. Writes models/unet-choice.json.
    """
    from angiosynth.project.workspace import Workspace
    from angiosynth.stages import select_unet as selection

    selection.select_unet(settings_of(params), Workspace())


def train_unet(
    data: Data,
    params: Params = PARAMS,
) -> None:
    """Train a U-net on real or synthetic patches; whole scans of validation patients choose its weights.

    With `unet.seeds` above 1 it is trained anew with each seed, and validation patients choose the one that is kept in front.
    Killed and started again, it redoes only the seeds that are missing. Writes models/unet/<data>.
    """
    settings = settings_of(params)  # before the slow imports
    from angiosynth.project.workspace import Workspace
    from angiosynth.stages import train_unet as stage

    stage.train_unet(settings, Workspace(), one_of(settings, "--data", data, "real"))


def evaluate(
    data: Scored,
    params: Params = PARAMS,
) -> None:
    """Segment the source's test patients and score them: DSC, 95HD and maximum distance in mm, patient by patient and seed by seed.

    Writes predictions/<data>/<patient>.nii.gz in each scan's grid and metrics/patients/<data>.csv.
    """
    settings = settings_of(params)  # before the slow imports
    from angiosynth.project.workspace import Workspace
    from angiosynth.stages import evaluate as stage

    stage.evaluate(settings, Workspace(), one_of(settings, "--data", data, "real", "threshold"))


def transfer(
    start: Start,
    params: Params = PARAMS,
) -> None:
    """Train at every other site with 1..n of its patients from one start, and score its test patients.

    Killed and started again, it redoes only what is missing. Writes metrics/transfer/<start>.csv.
    """
    settings = settings_of(params)  # before the slow imports
    from angiosynth.project.workspace import Workspace
    from angiosynth.stages import transfer as stage

    stage.transfer(settings, Workspace(), one_of(settings, "--start", start, "scratch", "real", "package"))


def worth(params: Params = PARAMS) -> None:
    """Train U-nets on the real patches of few of the source's patients, to say what a synthetic set is worth in patients.

    Killed and started again, it redoes only what is missing. Writes metrics/worth.csv.
    """
    settings = settings_of(params)  # before the slow imports
    from angiosynth.project.workspace import Workspace
    from angiosynth.stages import worth as stage

    stage.worth(settings, Workspace())


def summary(
    show: Annotated[bool, typer.Option("--show", help="Only print the tables of the existing results, with the audits' verdicts.")] = False,
    params: Params = PARAMS,
) -> None:
    """Join all tables into metrics/evaluation.csv, and metrics/evaluation.json, transfer.json and worth.json."""
    settings = settings_of(params)  # before the slow imports
    from angiosynth.project.workspace import Workspace
    from angiosynth.stages import summary as stage
    from angiosynth.verbs.results import table

    if not show:
        stage.summary(settings, Workspace())
    tell(*table(settings, Workspace()).split("\n"))


def report(
    readme: Annotated[
        bool, typer.Option("--readme", help="Also bring the tables of README.md and docs/results.md, and two figures, up to date.")
    ] = False,
    params: Params = PARAMS,
) -> None:
    """Make the figures and the page report/index.html."""
    from angiosynth.project.workspace import Workspace
    from angiosynth.stages import report as stage

    stage.report(settings_of(params), Workspace())
    if readme:
        stage.readme(Workspace(), Path("README.md"))
