"""The commands that prepare scans: phantom, import, cohort, patches."""

from __future__ import annotations

import shlex
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from angiosynth.commands.options import PARAMS, Params, Site, settings_of, site_of
from angiosynth.errors import InputError
from angiosynth.runtime.progress import say, shown, tell

if TYPE_CHECKING:
    from angiosynth.importing.import_checks import Checked


class GeometryName(StrEnum):
    sform = "sform"
    qform = "qform"
    pixdim = "pixdim"


class WithoutBrainName(StrEnum):
    refuse = "refuse"
    nonzero = "nonzero"
    whole = "whole"


def add_to(commands: typer.Typer) -> None:
    """Register the four commands."""
    commands.command()(phantom)
    commands.command("import")(import_scans)
    commands.command()(cohort)
    commands.command()(patches)


def phantom(
    site: Annotated[str | None, typer.Option("--site", help="One site of params.yaml, phantom.sites; by default all.")] = None,
    params: Params = PARAMS,
) -> None:
    """Draw sites of TOF-MRA heads with labelled vessels, as BIDS folders under data/phantom.

    For trying the pipeline without real scans. Deterministic from `phantom.seed`.
    """
    settings = settings_of(params)  # before the slow imports
    from angiosynth.project.workspace import Workspace
    from angiosynth.stages import phantom as stage

    if site is not None and site not in settings.phantom.sites:
        raise InputError(f"--site {site}: there is none such; there are {', '.join(settings.phantom.sites) or 'none'} (phantom.sites)")
    stage.phantom(settings, Workspace(), site)


# More than six parameters, because typer reads the command's arguments and options from the signature.
def import_scans(
    folder: Annotated[Path, typer.Argument(help="The folder with the lab's files, as they are.")],
    scan: Annotated[str, typer.Option("--scan", help="How scans are named, such as '*_tof' or '*/tof' or 'images/*'.")] = "",
    vessels: Annotated[str, typer.Option("--vessels", help="How vessel labels are named.")] = "",
    brain: Annotated[str, typer.Option("--brain", help="How brain masks are named.")] = "",
    table: Annotated[
        Path | None, typer.Option("--table", help="Instead of names: a CSV file with the columns scan, vessels, brain; paths in FOLDER.")
    ] = None,
    target: Annotated[Path | None, typer.Option("--output", "-o", help="The BIDS folder to make, such as data/raw/site-a.")] = None,
    names: Annotated[
        Path | None, typer.Option("--names", help="Where who is who is kept, for your eyes alone. By default names/<output>.csv.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything and print what would be taken; write nothing.")] = False,
    vessel_values: Annotated[
        str,
        typer.Option("--vessel-values", help="Where labels have several classes: the vessels' ones, such as 1,2 or 1-13,20; or all."),
    ] = "",
    without_brain: Annotated[
        WithoutBrainName,
        typer.Option("--without-brain", help="For scans without a brain mask: refuse, nonzero (stripped scans: what is not 0), or whole."),
    ] = WithoutBrainName.refuse,
    trust_shape: Annotated[
        bool,
        typer.Option("--trust-shape", help="Take masks of the scan's stored shape voxel by voxel, though their affine differs."),
    ] = False,
    geometry: Annotated[
        GeometryName | None,
        typer.Option("--geometry", help="Where a header contradicts itself: which of its descriptions of the grid holds."),
    ] = None,
    series: Annotated[int | None, typer.Option("--series", help="In folders of several DICOM series: the number of the scan's.")] = None,
) -> None:
    """Bring a folder of scans into BIDS, with numbers instead of names; all faults are listed at once.

    Reads NIfTI, MetaImage, NRRD, Analyze and folders of DICOM slices; tubes (.tre) as labels. A pattern's `*` stands for what names a
    patient, `**/` for any folders; formats and capital letters are all the same. Headers lose every text and extension. Who is who is kept
    outside the BIDS folder, in --names. An example:

    python cli.py import /where/they/are --scan '*_tof' --vessels '*_vessels' --brain '*_brain' --dry-run

    then the same with -o data/raw/site-a instead of --dry-run. docs/own-scans.md goes on from there.
    """
    from angiosynth.data.folders import some_of
    from angiosynth.importing.classes import parse_classes
    from angiosynth.importing.import_checks import Rules
    from angiosynth.importing.importing import all_faults, import_folder
    from angiosynth.importing.pairing import not_taken, pair_by_patterns, pair_by_table
    from angiosynth.verbs.import_manifest import leave_import_manifest

    if bool(scan) == bool(table) or (table and (vessels or brain)):
        raise InputError("import: give either patterns (--scan '*_tof', with --vessels and --brain) or --table FILE")
    if dry_run == bool(target):
        raise InputError("import: give either --dry-run, to see what would be taken, or -o FOLDER")
    rules = Rules(parse_classes(vessel_values), without_brain.value, trust_shape, geometry.value if geometry else None, series)
    paired, faults = pair_by_table(folder, table) if table else pair_by_patterns(folder, scan, vessels, brain)
    if faults:
        raise all_faults(faults)
    if unused := not_taken(folder, paired):
        say(f"{folder}: not taken: {some_of(unused, folder)}")
    names = names or (Path("names") / f"{target.name}.csv" if target else None)
    checked_scans = import_folder(paired, rules, target, names)
    labelled = sum(1 for checked in checked_scans if checked.sources.vessels)
    if target is None or names is None:
        tell(*_table(checked_scans))
        tell(f"{len(checked_scans)} patients, {labelled} with a label; nothing written")
        return
    leave_import_manifest(target, rules, checked_scans, "table" if table else "patterns")
    for checked in checked_scans:
        for note in checked.notes:
            tell(f"note  {checked.sources.name}  {note}")
    tell(f"{target}: {len(checked_scans)} patients, {labelled} with a label; who is who: {names}, which stays with you")
    tell(_split(target, labelled, len(checked_scans) - labelled))


def cohort(site: Site = None, params: Params = PARAMS) -> None:
    """Check every patient of the sites and split them into training, validation and test.

    Reads the BIDS folders of `cohort.sites`. All faults are listed at once. Writes splits/<site>.json and data/cohort/<site>.json.
    """
    settings = settings_of(params)  # before the slow imports
    from angiosynth.project.workspace import Workspace
    from angiosynth.stages import cohort as stage

    stage.cohort(settings, Workspace(), site_of(settings, site))


def patches(site: Site = None, params: Params = PARAMS) -> None:
    """Cut labelled patches from the training patients' axial slices into data/patches/<site>."""
    settings = settings_of(params)  # before the slow imports
    from angiosynth.project.workspace import Workspace
    from angiosynth.stages import patches as stage

    stage.patches(settings, Workspace(), site_of(settings, site))


def _table(checked_scans: list[Checked]) -> list[str]:
    """Lines of a table with a row for each patient."""
    rows: list[tuple[str, ...]] = [("scan", "vessels", "brain", "voxels", "mm", "stored", "grid from", "vessel share", "notes")]
    for checked in checked_scans:
        files = [path.name if path else "-" for path in (checked.sources.vessels, checked.sources.brain)]
        size = " x ".join(map(str, checked.shape))
        spacing = " x ".join(f"{length:.3g}" for length in checked.spacing_mm)
        share = f"{checked.vessel_voxels / checked.brain_voxels:.2%}" if checked.sources.vessels else "-"
        rows.append((checked.sources.name, *files, size, spacing, checked.orientation, checked.grid_from, share, "; ".join(checked.notes)))
    rows = [tuple(map(shown, row)) for row in rows]  # escape unprintable characters before the columns' widths are computed
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _split(target: Path, labelled: int, unlabelled: int) -> str:
    """The next steps, with a split for params.yaml: 60% training, the rest validation and test, unlabelled patients held out."""
    if labelled < 3:
        return f"{labelled} with a label are too few: one to train, one to validate and one to test are the least"
    test = validation = max(1, labelled // 5)
    held_out = f", held_out: {unlabelled}" if unlabelled else ""
    split = f"{{train: {labelled - test - validation}, validation: {validation}, test: {test}{held_out}}}"
    settings = f"cohort.sites in params.yaml, with a split such as {split}"
    return f"next: dvc add {shlex.quote(str(target))}; python cli.py profile quick; {settings}; then dvc repro cohort patches"
