"""Commands release and pretrain-from: a set leaves the house, and arrives at another."""

from __future__ import annotations

import getpass
import platform
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from angiosynth.data.bids import find_patients
from angiosynth.data.cohort import load_split
from angiosynth.data.patches import open_patch_set
from angiosynth.errors import InputError
from angiosynth.importing.name_words import name_words
from angiosynth.importing.originals import find_originals
from angiosynth.privacy.shared import shared_audit
from angiosynth.project.facts import unet_settings
from angiosynth.project.preflight import preflight
from angiosynth.project.workspace import Workspace, data_digest
from angiosynth.reading import resolved
from angiosynth.release.identifiers import Identifiers, refuse_originals
from angiosynth.release.package import build_package, open_package, refusal
from angiosynth.runtime.output import read_json, scratch_folder
from angiosynth.runtime.progress import say
from angiosynth.segmentation.serving import Served
from angiosynth.segmentation.training import train_segmenter
from angiosynth.segmentation.validation import validator
from angiosynth.settings import Settings
from angiosynth.settings.audit import AUDIT_FILES
from angiosynth.settings.texts import LONGEST_REASON, line_fault
from angiosynth.stages.audit import SHARED, audit_digest
from angiosynth.stages.train_unet import unet_facts, write_unet
from angiosynth.stages.transfer import transfer
from angiosynth.tracking.runs import DataSource, training_run

PACKAGE = "package"  # the name of a U-net that was trained on somebody else's set


def release(
    settings: Settings, home: Workspace, model: str | None, name: str, override: str, key: Path | None, allowed: Iterable[str] = ()
) -> str:
    """Pack one generator's set into releases/<name>, if its audit allows.

    Args:
        model: the generator; None takes the one that validation patients chose.
        name: of the package.
        override: a written reason to release against the audit's verdict, "" for none.
        key: ed25519 private key to sign with.
        allowed: words that may stand in the package though this machine, its user or a folder is called so.

    Returns:
        What was written, and what to do next.

    Raises:
        InputError: there is no audit, it is of another set, or it speaks against a release and no reason is given.
    """
    if override.strip() and (fault := line_fault(override.strip(), LONGEST_REASON)):
        raise InputError(f"--override: {fault}")
    chosen = model or str(read_json(home.metrics / "evaluation.json")["chosen_by_validation"])
    folder = home.audit(chosen)
    if not (folder / "audit.json").is_file():
        raise InputError(f"{folder}: there is no audit, and no set leaves without one; run `dvc repro audit@{chosen}`")
    audit: dict[str, Any] = read_json(folder / "audit.json")
    against = refusal(audit, data_digest(home.synthetic(chosen)), audit_digest(settings))
    if against and not override.strip():
        raise InputError(
            f'{folder / "index.html"}: {against}; read it. `--override "the reason"` releases all the same and prints the reason'
        )
    identifiers = _identifiers(settings, home, allowed)
    texts = {"the name of the package": name, "--override": override}
    refuse_originals(texts | {f"release.{field}": str(value) for field, value in settings.release}, identifiers)
    target = home.releases / name
    build_package(
        target,
        open_patch_set(home.synthetic(chosen)),
        _shared(audit, folder, chosen),
        folder / SHARED,
        by=settings.release,
        date=datetime.now(UTC).date().isoformat(),
        override=override.strip() if against else "",
        key=key,
        identifiers=identifiers,
    )
    signed = "signed" if key else "not signed (--sign-key signs)"
    return f"{target}: {chosen} set, {signed}. `dvc add {target}` puts the version under DVC; then copy the folder to whom it is for"


def _shared(audit: Mapping[str, Any], folder: Path, model: str) -> dict[str, Any]:
    """What of an audit may leave, as it lies in its folder.

    Raises:
        InputError: it is not what this version lets leave.
    """
    again = f"run `dvc repro audit@{model}` to make it anew"
    try:
        wanted = shared_audit(audit)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{folder / 'audit.json'}: damaged or of another version; {again}") from error
    path = folder / SHARED / AUDIT_FILES[0]
    if not path.is_file() or read_json(path) != wanted:
        raise InputError(f"{path}: is not what may leave of {folder / 'audit.json'}; {again}")
    return wanted


def pretrain_from(settings: Settings, home: Workspace, package: Path, trusted: Path | None) -> str:
    """Train a U-net on somebody's package, chosen by the own site's validation patients, and go on from it to the own patients.

    The first target site's where there is one: then transfer from the package to all of them follows. Else the source's.

    Args:
        package: a folder that `release` made.
        trusted: the sender's public key.

    Returns:
        What was trained and how it did.

    Raises:
        InputError: the package is not as its checksums tell, its intensity rule is another, or there is no validation patient.
    """
    preflight(settings, home, ("unet", "transfer"))
    with scratch_folder(home.root / ".work" / "package") as scratch:
        patches, intensity, told = open_package(package, trusted, scratch / "set")
        say(f"{package}: {told}")
        if intensity != settings.cohort.intensity:
            raise InputError(f"{package}: was made with cohort.intensity {intensity.model_dump(mode='json')}; set that in params.yaml")
        cohort = settings.cohort
        site = cohort.targets[0] if cohort.targets else cohort.source  # whose validation patients choose
        scans = home.scans(settings, site, load_split(home.splits, site).validation)
        if not scans:
            raise InputError(
                f"splits/{site}.json: no validation patient, who would choose the weights; name one in params.yaml, section cohort"
            )
        data = DataSource(f"package-{package.name}", str(patches.meta.get("set_digest", "")), package.name, len(patches))
        with training_run(
            "unet", f"unet {PACKAGE}", stage=f"pretrain-from@{package.name}", settings=unet_settings(settings, PACKAGE), data=data
        ) as run:
            trained = train_segmenter(settings.unet, patches, validator(scans), run, f"pretrain-from {package.name}")
            run.final(trained.scores)
            run.log_model(Served(trained.segmenter).eval(), np.zeros((2, 1, patches.size, patches.size), np.float32), name="unet")
        write_unet(home.unet(PACKAGE), trained, settings, {**unet_facts(settings, PACKAGE, patches), "package": package.name})
    line = f"{home.unet(PACKAGE)}: DSC {trained.scores['val_dsc']:.3f} on {len(scans)} validation patients of {site}"
    if site == cohort.source:
        return f"{line}; there is no other site, so nothing was transferred"
    transfer(settings, home, PACKAGE)
    return f"{line}; transferred: {home.metrics / 'transfer' / f'{PACKAGE}.csv'}"


def _identifiers(settings: Settings, home: Workspace, allowed: Iterable[str]) -> Identifiers:
    """What may stand nowhere in a package: patients' names, the scans' folders, this machine's, its user's and the project's."""
    secret: list[str] = [str(home.root.resolve()), str(Path.home())]
    words: dict[str, str] = {part: "part of the project's path" for part in home.root.resolve().parts[1:] if not part.isdigit()}
    for site, path in ((site, own.path) for site, own in settings.cohort.sites.items()):
        folders = [part for part in Path(path).parts if part not in ("/", "..") and not part.isdigit()]
        words |= {part: f"part of the path of {site}'s scans" for part in folders}
        secret += [str(resolved(home.site_root(settings, site))), *([path.rstrip("/")] if len(Path(path).parts) > 1 else [])]
        if home.site_root(settings, site).is_dir():
            secret += [patient.id for patient in find_patients(home.site_root(settings, site))]
            split = load_split(home.splits, site)
            secret += [*split.train, *split.validation, *split.test, *split.unlabelled]
    words |= {label: "in a patient's name" for name in secret if (label := name.removeprefix("sub-")) != name and not label.isdigit()}
    host = platform.node()
    words |= {name: "this machine's name" for name in (host, host.partition(".")[0])} | {_login(): "this user's name"}
    usual = {"", "root", "user", "localhost"}
    asked = {word: what for word, what in words.items() if word.lower() not in usual and not word.isdigit()}  # 2026 is in every date
    originals = find_originals(home.root, [home.site_root(settings, site) for site in settings.cohort.sites])
    labels = dict.fromkeys(
        name_words(name.removeprefix("sub-") for name in secret if name.startswith("sub-")), "a patient's name in the scans' folder"
    )
    known = replace(originals, tables={**labels, **originals.tables})
    return Identifiers([*dict.fromkeys(secret)], asked, tuple(allowed), known)


def _login() -> str:
    """The user's name; "" where the system knows none, as in some containers."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return ""
