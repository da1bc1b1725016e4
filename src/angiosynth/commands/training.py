"""Define the commands of the stages from train-generator to report, and repro, which runs all changed stages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from angiosynth.commands.options import PARAMS, Data, Few, Model, Params, Scored, Start, one_of, settings_of
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
        list[str] | None, typer.Argument(metavar="[STAGE]...", help="Stages to run, with the stages that they need; by default all.")
    ] = None,
    jobs: Annotated[
        int,
        typer.Option("--jobs", "-j", min=0, max=256, help="Most stages at once; by default the number of cores divided by `threads`."),
    ] = 0,
) -> None:
    """Run `dvc repro` on params.yaml, and print at its start and at every stage the estimated time for all stages.

    Independent stages run in parallel if `threads` in params.yaml leaves cores for them. They run in forks of one process that has imported
    the libraries, which saves some seconds for each stage. Results and exit code are those of `dvc repro`.
    """
    settings = settings_of(PARAMS)
    from angiosynth.verbs import repro as stages

    if code := stages.repro(settings, Path.cwd(), targets or [], jobs):
        raise typer.Exit(code)


def train_generator(model: Model, params: Params = PARAMS) -> None:
    """Train one generator on the source's training patches, and select its checkpoint on validation patients.

    A training that was killed continues from its last checkpoint. Writes models/generators/<model>.
    """
    settings = settings_of(params)  # before the slow imports
    from angiosynth.project.workspace import Workspace
    from angiosynth.stages import train_generator as stage

    stage.train_generator(settings, Workspace(), one_of(settings, "--model", model))


def synthesize(model: Model, params: Params = PARAMS) -> None:
    """Draw labelled synthetic patches from a trained generator into data/synthetic/<model>, with a card and a contact sheet.

    With `labels: unet` in section `synthesis` the U-nets on real patches (models/unet/real) label the drawn images.
    """
    settings = settings_of(params)  # before the slow imports
    from angiosynth.project.workspace import Workspace
    from angiosynth.stages import synthesize as stage

    stage.synthesize(settings, Workspace(), one_of(settings, "--model", model))


def select_unet(params: Params = PARAMS) -> None:
    """Select the U-net's learning rate, dropout and augmentation on validation patients, from the lists of section `selection`.

    Trains a U-net on real patches for each combination; a single combination needs no training. All later U-nets use the selected
    values. A restart after an interruption trains only the missing combinations. Writes models/unet-choice.json.
    """
    from angiosynth.project.workspace import Workspace
    from angiosynth.stages import select_unet as selection

    selection.select_unet(settings_of(params), Workspace())


def train_unet(
    data: Data,
    params: Params = PARAMS,
) -> None:
    """Train a U-net on real or synthetic patches, and select its weights on whole scans of validation patients.

    With `unet.seeds` above 1 it trains one U-net for each seed and selects the main one on validation patients. A restart after an
    interruption trains only the missing seeds. Writes models/unet/<data>.
    """
    settings = settings_of(params)  # before the slow imports
    from angiosynth.project.workspace import Workspace
    from angiosynth.stages import train_unet as stage

    stage.train_unet(settings, Workspace(), one_of(settings, "--data", data, "real"))


def evaluate(
    data: Scored,
    params: Params = PARAMS,
) -> None:
    """Segment the source's test patients and score them for each patient and seed: DSC, 95HD and maximum distance in mm.

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

    A restart after an interruption computes only the missing results. Writes metrics/transfer/<start>.csv.
    """
    settings = settings_of(params)  # before the slow imports
    from angiosynth.project.workspace import Workspace
    from angiosynth.stages import transfer as stage

    stage.transfer(settings, Workspace(), one_of(settings, "--start", start, "scratch", "real", "package"))


def worth(
    data: Few = "real",
    params: Params = PARAMS,
) -> None:
    """Train U-nets on real patches of subsets of the source's patients, to express the worth of a synthetic set as a number of patients.

    With the name of a generator: on its set together with these patches, where `worth.together` asks for it. A restart after an
    interruption computes only the missing results. Writes metrics/worth/<data>.csv.
    """
    settings = settings_of(params)  # before the slow imports
    from angiosynth.project.workspace import Workspace
    from angiosynth.stages import worth as stage

    stage.worth(settings, Workspace(), one_of(settings, "--data", data, "real"))


def summary(
    show: Annotated[bool, typer.Option("--show", help="Only print the existing results' tables, with the audits' verdicts.")] = False,
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
        bool, typer.Option("--readme", help="Also update the tables of README.md and docs/results.md, and two figures.")
    ] = False,
    params: Params = PARAMS,
) -> None:
    """Make the figures and the page report/index.html."""
    from angiosynth.project.workspace import Workspace
    from angiosynth.stages import report as stage

    stage.report(settings_of(params), Workspace())
    if readme:
        stage.readme(Workspace(), Path("README.md"))
