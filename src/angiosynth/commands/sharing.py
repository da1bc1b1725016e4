"""Define the commands that share a synthetic set with other labs: audit-references, audit, release, export, pretrain-from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from angiosynth.commands.options import PARAMS, Model, Params, generator_names, one_of, settings_of
from angiosynth.runtime.progress import tell


def add_to(commands: typer.Typer) -> None:
    """Register the five commands."""
    commands.command("audit-references")(audit_references)
    commands.command()(audit)
    commands.command()(release)
    commands.command()(export)
    commands.command("pretrain-from")(pretrain_from)


def audit_references(params: Params = PARAMS) -> None:
    """Compute the values that the audits of all generators share: features of real patches, thresholds, controls.

    Writes data/audit-references, which is as confidential as patients' patches. Without this folder each audit computes the same values.
    """
    settings = settings_of(params)  # before the slow imports
    from angiosynth.project.workspace import Workspace
    from angiosynth.stages import audit_references as stage

    stage.audit_references(settings, Workspace())


def audit(
    model: Model,
    show: Annotated[bool, typer.Option("--show", help="Only print the verdict of an existing audit, and the next steps.")] = False,
    params: Params = PARAMS,
) -> None:
    """Attack one generator's set, the generator and its critic: membership, copies, and links to a patient.

    Each attack has a control that knows nothing of the generator, and planted leaks show whether the audit could detect a real one. The
    limits are in section `audit`. Writes audit/<model>. Its audit.json, index.html (for the data-protection officer), scores.png and
    gallery.png hold patients' scores and patches and must stay in the lab; its folder shared/ holds the rounded fields that may be
    released.
    """
    settings = settings_of(params)  # before the slow imports
    from angiosynth.project.workspace import Workspace

    chosen = one_of(settings, "--model", model)
    if show:
        from angiosynth.verbs.audit_result import audit_lines

        tell(*audit_lines(Workspace(), chosen))
        return
    from angiosynth.stages import audit as stage

    stage.audit(settings, Workspace(), chosen)


def release(
    name: Annotated[str, typer.Argument(help="The package's name; the package is written to releases/NAME.")],
    model: Annotated[
        str | None,
        typer.Option(
            "--model", help="The generator of the set; by default the one selected on validation.", autocompletion=generator_names
        ),
    ] = None,
    override: Annotated[str, typer.Option("--override", help="A reason to release against the audit, printed in the card.")] = "",
    sign_key: Annotated[Path | None, typer.Option("--sign-key", help="An ed25519 private key (ssh-keygen -t ed25519 -N '').")] = None,
    allow_word: Annotated[
        list[str] | None,
        typer.Option("--allow-word", help="A word that is allowed although it names a user, machine, folder or patient."),
    ] = None,
    with_unet: Annotated[bool, typer.Option("--with-unet", help="Add the U-net that was trained on the set.")] = False,
    with_generator: Annotated[
        bool,
        typer.Option(
            "--with-generator",
            help="Add the generator, if its own verdict is within; see audit.drawn_labels.",
        ),
    ] = False,
    params: Params = PARAMS,
) -> None:
    """Pack a synthetic set for others: patches as npz and NIfTI, card, Croissant metadata, audit, loader, checksums.

    Refused if the audit is missing, is of another set, or is against a release. The package contains no patch, score, name, path or header
    of a patient: it is searched for them, and for the names that patients had before `import`, before it gets its final name. Example:

    python cli.py release vessels-1 --sign-key ~/.ssh/release
    """
    settings = settings_of(params)  # before the slow imports
    from angiosynth.project.workspace import Workspace
    from angiosynth.verbs import release as stage

    chosen = one_of(settings, "--model", model) if model else None
    request = stage.ReleaseRequest(name, override, sign_key, allow_word or (), with_unet, with_generator)
    tell(stage.release(settings, Workspace(), chosen, request))


def export(
    package: Annotated[Path, typer.Argument(help="The folder of a package, such as releases/NAME.")],
    to: Annotated[str, typer.Option("--to", help="The format: nnunet, huggingface, bids, monai or medigan.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The new folder.")],
    spacing_mm: Annotated[
        tuple[float, float, float] | None,
        typer.Option("--spacing-mm", help="Voxel size of the scans, slices last, for packages that do not hold it."),
    ] = None,
    trusted_key: Annotated[
        Path | None, typer.Option("--trusted-key", help="The sender's public key; unsigned packages are then refused.")
    ] = None,
    sign_key: Annotated[Path | None, typer.Option("--sign-key", help="An ed25519 private key to sign the export with.")] = None,
    allow_word: Annotated[
        list[str] | None,
        typer.Option("--allow-word", help="A word that is allowed although it names a user, machine, folder or patient."),
    ] = None,
    params: Params = PARAMS,
) -> None:
    """Write a package in the format of another tool, with its card, its audit and new checksums.

    Checks the package against its checksums first, and searches the export for names as `release` does. Example:

    python cli.py export releases/vessels-1 --to nnunet -o exports/vessels-1-nnunet
    """
    settings = settings_of(params)  # before the slow imports
    from angiosynth.project.workspace import Workspace
    from angiosynth.verbs import export as stage

    tell(
        stage.export(
            settings,
            Workspace(),
            stage.ExportRequest(package, to, output, spacing_mm, trusted_key, sign_key, allow_word or ()),
        )
    )


def pretrain_from(
    package: Annotated[Path, typer.Argument(help="The folder of a package.")],
    trusted_key: Annotated[
        Path | None, typer.Option("--trusted-key", help="The sender's public key; unsigned packages are then refused.")
    ] = None,
    params: Params = PARAMS,
) -> None:
    """Train a U-net on another lab's package, select its weights on validation patients here, then fine-tune it on this lab's patients.

    Checks the package against its checksums first. With target sites (`cohort.sites`) the first one's validation patients select the
    weights, and transfer to all target sites follows. Writes models/unet/package and metrics/transfer/package.csv. Run
    `dvc repro patches` before.
    """
    from angiosynth.project.workspace import Workspace
    from angiosynth.verbs import pretrain as stage

    tell(stage.pretrain_from(settings_of(params), Workspace(), package, trusted_key))
