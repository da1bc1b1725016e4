"""Command export: write a package in the format of another tool."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from angiosynth.arrays import SpacingMm
from angiosynth.errors import InputError
from angiosynth.exports.opening import open_contents
from angiosynth.exports.registry import EXPORTS
from angiosynth.exports.writing import write_export
from angiosynth.project.workspace import Workspace
from angiosynth.release.signature import SUMS
from angiosynth.runtime.output import scratch_folder
from angiosynth.runtime.progress import say
from angiosynth.settings import Settings
from angiosynth.verbs.manifest import manifest_path, sha256_of, write_manifest
from angiosynth.verbs.release import project_identifiers


@dataclass(frozen=True)
class ExportRequest:
    """The user's choices for an export.

    Attributes:
        package: a folder written by `release`.
        to: the format, a key of EXPORTS.
        target: the folder to create.
        spacing_mm: voxel size (x, y, z) in mm, for a package whose card has none.
        trusted: the sender's public key; if given, unsigned packages are refused.
        key: ed25519 private key that signs the export.
        allowed_words: words that may appear in the export although they are names of this machine, its user or a folder.
    """

    package: Path
    to: str
    target: Path
    spacing_mm: SpacingMm | None = None
    trusted: Path | None = None
    key: Path | None = None
    allowed_words: Sequence[str] = ()


def export(settings: Settings, home: Workspace, request: ExportRequest) -> str:
    """Write a package's pairs in another format, and the manifest lineage/export-PACKAGE-FORMAT.json.

    Returns:
        A line that names the folder and the next step.

    Raises:
        InputError: the format is unknown, the package differs from its checksums, the folder exists, or the export contains an identifier.
    """
    if request.to not in EXPORTS:
        raise InputError(f"--to {request.to}: no such format; there are {', '.join(EXPORTS)}")
    target = request.target
    if target.exists() or target.is_symlink():  # checked before the package is unpacked
        raise InputError(f"{target}: is there already; name a new folder with -o")
    chosen = EXPORTS[request.to]
    identifiers = project_identifiers(settings, home, request.allowed_words)
    with scratch_folder(target.with_name(f"{target.name}-unpacked")) as scratch:
        contents, checked = open_contents(request.package, request.trusted, scratch / "set", request.spacing_mm)
        say(f"{request.package}: {checked}")
        write_export(chosen, contents, target, identifiers, request.key)
        write_manifest(
            manifest_path(home.root, "export", f"{contents.card.name}-{chosen.name}"),
            inputs={"package": sha256_of(contents.package / SUMS), "set": contents.card.set_digest},
            settings={"to": chosen.name, "spacing_mm": list(contents.spacing_mm), "signed": request.key is not None},
            outputs={SUMS: sha256_of(target / SUMS)},
        )
    signed = "signed" if request.key else "not signed (--sign-key signs)"
    return f"{target}: {contents.card.n} pairs for {chosen.title}, {signed}; its README.md says how to use them"
