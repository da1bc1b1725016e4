"""Command release: write one generator's set as a package for other labs."""

from __future__ import annotations

import getpass
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from angiosynth.data.bids import find_patients
from angiosynth.data.patches import PatchSet, open_patch_set
from angiosynth.data.split import load_split
from angiosynth.errors import InputError
from angiosynth.generators.storage import generator_digest
from angiosynth.importing.name_words import name_words
from angiosynth.importing.originals import find_originals
from angiosynth.privacy.shared import shared_audit
from angiosynth.project.workspace import Workspace, data_digest
from angiosynth.reading import resolved
from angiosynth.release.card import Terms
from angiosynth.release.generator import TrainedSource, generator_fault
from angiosynth.release.identifiers import Identifiers, refuse_originals
from angiosynth.release.package import SharedAudit, build_package, refusal
from angiosynth.release.promise import promise_fault
from angiosynth.release.signature import SUMS
from angiosynth.release.spacing import training_spacing
from angiosynth.runtime.output import read_json
from angiosynth.settings import Settings
from angiosynth.settings.audit import AUDIT_FILES
from angiosynth.settings.texts import LONGEST_REASON, line_fault
from angiosynth.stages.audit import SHARED, audit_digest
from angiosynth.verbs.manifest import manifest_path, sha256_of, write_manifest

NOBODYS = {"", "root", "user", "localhost"}  # names of users and machines that identify nobody


@dataclass(frozen=True)
class ReleaseRequest:
    """The user's choices for a release.

    Attributes:
        name: name of the package.
        override: a written reason to release against the audit's verdict; "" for none.
        key: ed25519 private key that signs the package.
        allowed_words: words that may appear in the package although they are names of this machine, its user or a folder.
        with_unet: whether to add the U-net that was trained on the set.
        with_generator: whether to add the generator.
    """

    name: str
    override: str = ""
    key: Path | None = None
    allowed_words: Sequence[str] = ()
    with_unet: bool = False
    with_generator: bool = False


def release(settings: Settings, home: Workspace, model: str | None, request: ReleaseRequest) -> str:
    """Write one generator's set to releases/<name>, if its audit permits, and the manifest lineage/release-NAME.json.

    Args:
        settings: all settings.
        home: the project's folder.
        model: the generator; None for the one selected on validation patients.
        request: the user's choices.

    Returns:
        A line that names the package and the next steps.

    Raises:
        InputError: no audit exists, it is of another set, or its verdict is against a release and no reason is given.
    """
    override = request.override.strip()
    if override and (fault := line_fault(override, LONGEST_REASON)):
        raise InputError(f"--override: {fault}")
    # The audit must exist and be of this set and these settings; its verdict can be overridden by a written reason.
    chosen = model or str(read_json(home.metrics / "evaluation.json")["chosen_by_validation"])
    folder = home.audit(chosen)
    if not (folder / "audit.json").is_file():
        raise InputError(f"{folder}: there is no audit, and no set leaves without one; run `dvc repro audit@{chosen}`")
    audit: dict[str, Any] = read_json(folder / "audit.json")
    against = refusal(audit, data_digest(home.synthetic(chosen)), audit_digest(settings))
    if against and not override:
        raise InputError(
            f'{folder / "index.html"}: {against}; read it. `--override "the reason"` releases all the same and prints the reason'
        )
    # Faults that cannot be overridden: those by the privacy promise, and of the generator if it is released too.
    synthetic = open_patch_set(home.synthetic(chosen))
    if fault := promise_fault(synthetic.meta.get("promise", {}), request.with_unet):
        raise InputError(f"{synthetic.folder}: {fault}")
    drawn_by = _generator(settings, home, chosen, synthetic, audit) if request.with_generator else None
    # Texts written by the user must not contain a patient's name; the whole package is searched again before it is put in place.
    identifiers = project_identifiers(settings, home, request.allowed_words)
    texts = {"the name of the package": request.name, "--override": override}
    refuse_originals(texts | {f"release.{field}": str(value) for field, value in settings.release}, identifiers)
    target = home.releases / request.name
    build_package(
        target,
        _with_spacing(settings, home, synthetic),
        SharedAudit(_shared(audit, folder, chosen), folder / SHARED),
        Terms(settings.release, datetime.now(UTC).date().isoformat(), override if against else ""),
        segmenter=home.unet(chosen) if request.with_unet else None,
        drawn_by=drawn_by,
        key=request.key,
        identifiers=identifiers,
    )
    write_manifest(
        manifest_path(home.root, "release", request.name),
        inputs={"set": data_digest(home.synthetic(chosen)), "audit": sha256_of(folder / "audit.json")},
        settings={"model": chosen, "override": override, "signed": request.key is not None}
        | {"with_unet": request.with_unet, "with_generator": request.with_generator}
        | {"release": settings.release.model_dump(mode="json"), "audit": audit_digest(settings)},
        outputs={SUMS: sha256_of(target / SUMS)},
    )
    signed = "signed" if request.key else "not signed (--sign-key signs)"
    return f"{target}: {chosen} set, {signed}. `dvc add {target}` puts the version under DVC; then copy the folder to whom it is for"


def _generator(settings: Settings, home: Workspace, model: str, synthetic: PatchSet, audit: Mapping[str, Any]) -> TrainedSource:
    """Return the generator that drew the set.

    Raises:
        InputError: it must not be released.
    """
    folder = home.generator(model)
    if fault := generator_fault(audit, synthetic.meta, generator_digest(folder)):
        raise InputError(f"{folder}: {fault}")
    return TrainedSource(folder, settings.generator(model))


def _with_spacing(settings: Settings, home: Workspace, synthetic: PatchSet) -> PatchSet:
    """Add the voxel size to the set's metadata: that of the training scans, or that of the grid in the privacy promise."""
    if promise := synthetic.meta.get("promise"):
        return replace(synthetic, meta={**synthetic.meta, "spacing_mm": promise["spacing_mm"], "spacing_varies": False})
    source = settings.cohort.source
    spacing = training_spacing(home.cohort(source), load_split(home.splits, source).train)
    return replace(synthetic, meta={**synthetic.meta, **spacing})


def _shared(audit: Mapping[str, Any], folder: Path, model: str) -> dict[str, Any]:
    """Return the part of an audit that may be released, after a comparison with the file in the audit's folder.

    Raises:
        InputError: the audit is damaged, or the file differs from the part that this version computes.
    """
    again = f"run `dvc repro audit@{model}` to make it anew"
    try:
        shared = shared_audit(audit)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{folder / 'audit.json'}: damaged or of another version; {again}") from error
    path = folder / SHARED / AUDIT_FILES[0]
    if not path.is_file() or read_json(path) != shared:
        raise InputError(f"{path}: differs from what may be released of {folder / 'audit.json'}; {again}")
    return shared


def project_identifiers(settings: Settings, home: Workspace, allowed: Sequence[str] = ()) -> Identifiers:
    """Collect the names and paths of the project's patients, sites, machine and user, which a package must not contain."""
    root = home.root.resolve()
    secret: list[str] = [str(root), str(Path.home())]
    words = dict.fromkeys(_words_of(root), "part of the project's path")
    for site in settings.cohort.sites:
        path = settings.cohort.sites[site].path
        words |= dict.fromkeys(_words_of(Path(path)), f"part of the path of {site}'s scans")
        secret += [str(resolved(home.site_root(settings, site))), *([path.rstrip("/")] if len(Path(path).parts) > 1 else [])]
        secret += _patients(settings, home, site)
    # A patient's folder is called sub-LABEL; LABEL without the prefix identifies the patient too.
    labels = [name.removeprefix("sub-") for name in secret if name.startswith("sub-")]
    words |= {label: "in a patient's name" for label in labels if not label.isdigit()}
    host = platform.node()
    words |= {name: "this machine's name" for name in (host, host.partition(".")[0])} | {_login(): "this user's name"}
    words = {word: title for word, title in words.items() if word.lower() not in NOBODYS and not word.isdigit()}
    originals = find_originals(home.root, [home.site_root(settings, site) for site in settings.cohort.sites])
    tables = {**dict.fromkeys(name_words(labels), "a patient's name in the scans' folder"), **originals.tables}
    return Identifiers([*dict.fromkeys(secret)], words, tuple(allowed), replace(originals, tables=tables))


def _words_of(path: Path) -> list[str]:
    """Return the names of the folders of a path, without numbers: a year, for example, occurs in every date."""
    return [name for name in path.parts if name not in ("/", "..") and not name.isdigit()]


def _patients(settings: Settings, home: Workspace, site: str) -> list[str]:
    """Return the names of a site's patients, from its folder and its split; none if its scans are not on this machine."""
    if not home.site_root(settings, site).is_dir():
        return []
    split = load_split(home.splits, site)
    folders = [patient.id for patient in find_patients(home.site_root(settings, site))]
    return [*folders, *split.train, *split.validation, *split.test, *split.held_out, *split.voters, *split.unlabelled]


def _login() -> str:
    """Return the user's login name, or "" if the system has none, as in some containers."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return ""
