"""The manifest of command import: the lab's files by digest, the rules that they were read by, and the folder that was made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from angiosynth.importing.import_checks import Checked, Rules
from angiosynth.importing.target import DESCRIPTION
from angiosynth.verbs.manifest import manifest_path, sha256_of, write_manifest


def leave_import_manifest(target: Path, rules: Rules, checked: Sequence[Checked], paired_by: str) -> None:
    """In a project's folder, write lineage/import-SITE.json, SITE being the name of the imported folder.

    Patients stand in the order of their scans' digests, which follows neither names nor numbers. Patterns and paths may hold a name, and
    so may a table's rows: by the digest of a short table a guessed name could be confirmed. Neither they nor that digest are kept. The
    output is the folder's description, which has the checksums of all its files.

    Args:
        target: the folder that the import has made.
        rules: how ambiguous files were interpreted.
        checked: every patient's facts.
        paired_by: what joined each patient's files, "patterns" or "table".

    Raises:
        InputError: it cannot be written.
    """
    path = manifest_path(Path(), "import", target.name)
    if path is None:
        return
    patients = sorted((facts.sha256 for facts in checked), key=lambda sha256: sha256["scan"])
    inputs = {f"{kind}-{number}": digest for number, sha256 in enumerate(patients, 1) for kind, digest in sha256.items()}
    classes = "all" if rules.vessel_values is None else rules.vessel_values
    settings = asdict(rules) | {"vessel_values": classes, "paired_by": paired_by}
    write_manifest(path, inputs, settings, outputs={DESCRIPTION: sha256_of(target / DESCRIPTION)})
