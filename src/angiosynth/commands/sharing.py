"""The commands that share a synthetic set with other labs: audit-references, audit, release, export, pretrain-from."""

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
    """Compute once what the audits of all generators share: features of real patches, thresholds, controls.

    Writes data/audit-references, which is as confidential as patients' patches. An audit that does not have it computes the same itself.
    """
    settings = settings_of(params)  # before the slow imports
    from angiosynth.project.workspace import Workspace
    from angiosynth.stages import audit_references as stage

    stage.audit_references(settings, Workspace())


def audit(
    model: Model,
    show: Annotated[bool, typer.Option("--show", help="Only print the verdict of the audit that was made, and what to do next.")] = False,
    params: Params = PARAMS,
) -> None:
    """Attack one generator's set, the generator and its critic: membership, copies, and links to a patient.

    Each attack stands beside a control that knows nothing of the generator, and leaks planted on purpose show whether the audit could
    detect one. Limits are those of section `audit`. Writes audit/<model>: audit.json, index.html, for the data-protection officer,
    scores.png and gallery.png, which hold people's scores and patches and stay in the lab; and shared/, the fields that may be
    released, rounded.
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
    name: Annotated[str, typer.Argument(help="The package's name; it becomes the folder releases/NAME.")],
    model: Annotated[
        str | None,
        typer.Option("--model", help="Which generator's set; by default the one that validation chose.", autocompletion=generator_names),
    ] = None,
    override: Annotated[str, typer.Option("--override", help="A reason, which goes into the card, to release against the audit.")] = "",
    sign_key: Annotated[Path | None, typer.Option("--sign-key", help="An ed25519 private key (ssh-keygen -t ed25519 -N '').")] = None,
    allow_word: Annotated[
        list[str] | None,
        typer.Option("--allow-word", help="A word that may stand in it though a user, machine, folder or patient is called so."),
    ] = None,
    with_unet: Annotated[bool, typer.Option("--with-unet", help="Add the U-net that was trained on the set.")] = False,
    with_generator: Annotated[bool, typer.Option("--with-generator", help="Add the generator, where its own verdict is within.")] = False,
    params: Params = PARAMS,
) -> None:
    """Pack a synthetic set for others: patches as npz and NIfTI, card, Croissant metadata, audit, loader, checksums.

    Refused where the audit is missing, of another set, or speaks against it. No patch, score, name, path or header of a patient goes
    along: the package is searched for them, and for the names that patients had before `import`, before it is put in place. An example:

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
    trusted_key: Annotated[Path | None, typer.Option("--trusted-key", help="The sender's public key; unsigned is refused then.")] = None,
    sign_key: Annotated[Path | None, typer.Option("--sign-key", help="An ed25519 private key to sign the export with.")] = None,
    allow_word: Annotated[
        list[str] | None,
        typer.Option("--allow-word", help="A word that may stand in it though a user, machine, folder or patient is called so."),
    ] = None,
    params: Params = PARAMS,
) -> None:
    """Write a package in the form that another tool reads, with its card, its audit and new checksums.

    Checks the package against its checksums first, and searches the export for names as `release` does. An example:

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
    trusted_key: Annotated[Path | None, typer.Option("--trusted-key", help="The sender's public key; unsigned is refused then.")] = None,
    params: Params = PARAMS,
) -> None:
    """Train a U-net on a package from elsewhere, chosen by this lab's validation patients, then fine-tune it on this lab's patients.

    Checks the package against its checksums first. Where there are target sites (`cohort.sites`) the first one's validation patients
    choose, and transfer from the package to all of them follows. Writes models/unet/package and metrics/transfer/package.csv. Needs
    `dvc repro patches` to have run.
    """
    from angiosynth.project.workspace import Workspace
    from angiosynth.verbs import pretrain as stage

    tell(stage.pretrain_from(settings_of(params), Workspace(), package, trusted_key))
