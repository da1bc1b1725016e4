"""The command line: parses and delegates. Heavy libraries are imported inside the commands, so that help is instant."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from angiosynth.commands import importing, searching, serving, sharing
from angiosynth.commands.group import Commands
from angiosynth.commands.options import PARAMS, Data, Model, Params, Scored, Site, Start, one_of, site_of
from angiosynth.commands.options import settings_of as _settings
from angiosynth.errors import InputError
from angiosynth.runtime.faults import fault_line
from angiosynth.runtime.leftovers import clear_project
from angiosynth.runtime.machine import heed_quota
from angiosynth.runtime.memory import keep_freed_memory
from angiosynth.runtime.private import close_places, write_for_the_user_alone
from angiosynth.runtime.progress import print_anything, say, tell
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
    if context.invoked_subcommand != "doctor":  # which names both
        close_places(Path())
        clear_project(Path())


@commands.command()
def phantom(
    site: Annotated[str | None, typer.Option("--site", help="One site of params.yaml, phantom.sites; by default all.")] = None,
    params: Params = PARAMS,
) -> None:
    """Draw sites of TOF-MRA heads with labelled vessels, as BIDS folders under data/phantom.

    For trying everything without a scan of one's own. Deterministic from `phantom.seed`.
    """
    settings = _settings(params)  # before what takes seconds to import
    from angiosynth.project.workspace import Workspace
    from angiosynth.stages import phantom as stage

    if site is not None and site not in settings.phantom.sites:
        raise InputError(f"--site {site}: there is none such; there are {', '.join(settings.phantom.sites) or 'none'} (phantom.sites)")
    stage.phantom(settings, Workspace(), site)


@commands.command()
def cohort(site: Site = None, params: Params = PARAMS) -> None:
    """Check every patient of the sites and split them into training, validation and test.

    Reads the BIDS folders of `cohort.sites`. All faults are listed at once. Writes splits/<site>.json and data/cohort/<site>.json.
    """
    settings = _settings(params)  # before what takes seconds to import
    from angiosynth.project.workspace import Workspace
    from angiosynth.stages import cohort as stage

    stage.cohort(settings, Workspace(), site_of(settings, site))


@commands.command()
def patches(site: Site = None, params: Params = PARAMS) -> None:
    """Cut labelled patches from the training patients' axial slices into data/patches/<site>."""
    settings = _settings(params)  # before what takes seconds to import
    from angiosynth.project.workspace import Workspace
    from angiosynth.stages import patches as stage

    stage.patches(settings, Workspace(), site_of(settings, site))


@commands.command("train-generator")
def train_generator(model: Model, params: Params = PARAMS) -> None:
    """Train one generator on the source's training patches; validation patients choose the checkpoint.

    Killed and started again, it goes on at its last checkpoint. Writes models/generators/<model>.
    """
    settings = _settings(params)  # before what takes seconds to import
    from angiosynth.project.workspace import Workspace
    from angiosynth.stages import train_generator as stage

    stage.train_generator(settings, Workspace(), one_of(settings, "--model", model))


@commands.command()
def synthesize(model: Model, params: Params = PARAMS) -> None:
    """Draw labelled synthetic patches from a trained generator into data/synthetic/<model>, with a card and a contact sheet."""
    settings = _settings(params)  # before what takes seconds to import
    from angiosynth.project.workspace import Workspace
    from angiosynth.stages import synthesize as stage

    stage.synthesize(settings, Workspace(), one_of(settings, "--model", model))


@commands.command("select-unet")
def select_unet(params: Params = PARAMS) -> None:
    """Choose the U-net's learning rate, dropout and augmentation on validation patients, from the lists of section `selection`.

    Trains a U-net on real patches for each combination; with one combination nothing is trained. Every U-net is then trained
    with the choice. Killed and started again, it redoes only what is missing. Writes models/unet-choice.json.
    """
    from angiosynth.project.workspace import Workspace
    from angiosynth.stages import select_unet as selection

    selection.select_unet(_settings(params), Workspace())


@commands.command("train-unet")
def train_unet(
    data: Data,
    params: Params = PARAMS,
) -> None:
    """Train a U-net on real or synthetic patches; whole scans of validation patients choose its weights.

    With `unet.seeds` above 1 it is trained anew with each seed, and validation patients choose the one that is kept in front.
    Killed and started again, it redoes only the seeds that are missing. Writes models/unet/<data>.
    """
    settings = _settings(params)  # before what takes seconds to import
    from angiosynth.project.workspace import Workspace
    from angiosynth.stages import train_unet as stage

    stage.train_unet(settings, Workspace(), one_of(settings, "--data", data, "real"))


@commands.command()
def evaluate(
    data: Scored,
    params: Params = PARAMS,
) -> None:
    """Segment the source's test patients and score them: DSC, 95HD and maximum distance in mm, patient by patient and seed by seed.

    Writes predictions/<data>/<patient>.nii.gz in each scan's own grid and metrics/patients/<data>.csv.
    """
    settings = _settings(params)  # before what takes seconds to import
    from angiosynth.project.workspace import Workspace
    from angiosynth.stages import evaluate as stage

    stage.evaluate(settings, Workspace(), one_of(settings, "--data", data, "real", "threshold"))


@commands.command()
def transfer(
    start: Start,
    params: Params = PARAMS,
) -> None:
    """Train at every other site with 1..n of its patients from one start, and score its test patients.

    Killed and started again, it redoes only what is missing. Writes metrics/transfer/<start>.csv.
    """
    settings = _settings(params)  # before what takes seconds to import
    from angiosynth.project.workspace import Workspace
    from angiosynth.stages import transfer as stage

    stage.transfer(settings, Workspace(), one_of(settings, "--start", start, "scratch", "real", "package"))


importing.add_to(commands)
sharing.add_to(commands)
searching.add_to(commands)
serving.add_to(commands)


@commands.command()
def summary(
    show: Annotated[
        bool, typer.Option("--show", help="Only print the tables of the results that are there, with the audits' verdicts.")
    ] = False,
    params: Params = PARAMS,
) -> None:
    """Join all tables into metrics/evaluation.csv, metrics/evaluation.json and metrics/transfer.json."""
    settings = _settings(params)  # before what takes seconds to import
    from angiosynth.project.workspace import Workspace
    from angiosynth.stages import summary as stage
    from angiosynth.verbs.results import table

    if not show:
        stage.summary(settings, Workspace())
    tell(*table(settings, Workspace()).split("\n"))


@commands.command()
def report(
    readme: Annotated[bool, typer.Option("--readme", help="Also bring the README's table and two figures up to date.")] = False,
    params: Params = PARAMS,
) -> None:
    """Make the figures and the page report/index.html."""
    from angiosynth.project.workspace import Workspace
    from angiosynth.stages import report as stage

    stage.report(_settings(params), Workspace())
    if readme:
        stage.readme(Workspace(), Path("README.md"))


@commands.command()
def profile(
    name: Annotated[str, typer.Argument(help="A file of profiles/ without .yaml: demo, full, paper, real or quick.")],
    force: Annotated[bool, typer.Option("--force", help="Replace edited settings too; they are kept as params.yaml.bak.")] = False,
) -> None:
    """Make params.yaml from a profile, validated first. Settings that were edited are left unless --force is given."""
    from angiosynth.project.params import take_profile

    if said := take_profile(PARAMS, Path("profiles"), name, force):
        tell(said)


@commands.command()
def segment(
    scan: Annotated[Path, typer.Argument(help="The scan: NIfTI, of any orientation.")],
    target: Annotated[Path, typer.Option("--output", "-o", help="The mask to write, .nii or .nii.gz; a PNG of that name goes beside it.")],
    brain: Annotated[Path | None, typer.Option("--mask", help="Its brain mask. Without one the whole volume is searched.")] = None,
    model: Annotated[
        str, typer.Option("--model", help="A folder, or of MLflow's runs:/RUN, models:/NAME/VERSION or models:/NAME@ALIAS.")
    ] = "models/unet/real",
    force: Annotated[bool, typer.Option("--force", help="Overwrite the mask and the PNG where they are there already.")] = False,
) -> None:
    """Segment the vessels of one scan with a trained U-net, in the scan's own grid.

    The intensity rule is the one the U-net was trained with. Mask and PNG are for your eyes alone; a model from MLflow lies in a hidden
    folder beside them until the command ends. An example:

    python cli.py segment scan.nii.gz -o vessels.nii.gz --mask brain.nii.gz
    """
    from angiosynth.verbs import segment as stage

    tell(stage.segment(scan, target, brain, model, force=force))


@commands.command()
def sync() -> None:
    """Send to the MLflow server what runs have kept in mlruns/outbox while it was away; the next stage does the same by itself.

    Only with MLFLOW_TRACKING_URI at a server. Sent twice, nothing is doubled. What a training that runs now has kept is left to it.
    """
    from angiosynth.tracking import runs as tracking

    left = tracking.sync(tracking.project_root())
    tell("all is sent" if not left else f"{left} entries are left, of trainings that go on")


@commands.command()
def doctor() -> None:
    """Look at what a run needs (Python, packages, torch and device, settings, DVC, MLflow, Optuna, disk, memory) and tell what to mend.

    Exit code 1 where something would keep the stages from running.
    """
    from angiosynth.verbs import doctor as stage

    table, healthy = stage.doctor(Path())
    tell(*table.split("\n"))
    if not healthy:
        raise typer.Exit(1)


def app(run: Callable[[], object] = commands) -> None:
    """Run a command; a fault of the input is one line and exit code 2, Ctrl-C is 130, another signal 128 and its number."""
    write_for_the_user_alone()
    end_in_order()
    keep_freed_memory()
    hide_secrets_in_tracebacks_and_logs()
    heed_quota()
    print_anything()
    logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)  # what it finds in a header, a line of this project's own tells
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
