"""The manifest of command import: digests of the lab's files, the rules by which they were read, and the digest of the BIDS folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from angiosynth.importing.import_checks import Checked, Rules
from angiosynth.importing.target import DESCRIPTION
from angiosynth.verbs.manifest import manifest_path, sha256_of, write_manifest


def leave_import_manifest(target: Path, rules: Rules, checked: Sequence[Checked], paired_by: str) -> None:
    """In a project's folder, write lineage/import-SITE.json, where SITE is the name of the BIDS folder.

    Patients are sorted by the digests of their scans, which is independent of names and numbers. Patterns, paths and a table's rows may
    contain names, and the digest of a short table would allow to confirm a guessed name, so none of them is recorded. The output is the
    BIDS folder's description, which contains the checksums of all its files.

    Args:
        target: the BIDS folder.
        rules: how ambiguous files were interpreted.
        checked: all patients.
        paired_by: how each patient's files were paired, "patterns" or "table".

    Raises:
        InputError: the file cannot be written.
    """
    path = manifest_path(Path(), "import", target.name)
    if path is None:
        return
    patients = sorted((patient.sha256 for patient in checked), key=lambda sha256: sha256["scan"])
    inputs = {f"{kind}-{number}": digest for number, sha256 in enumerate(patients, 1) for kind, digest in sha256.items()}
    classes = "all" if rules.vessel_values is None else rules.vessel_values
    settings = asdict(rules) | {"vessel_values": classes, "paired_by": paired_by}
    write_manifest(path, inputs, settings, outputs={DESCRIPTION: sha256_of(target / DESCRIPTION)})
