"""Run manifests: digests of the inputs and outputs of commands that are not stages, in the project's folder lineage/.

DVC records the inputs of stages in dvc.lock, but not those of `import`, `release`, `export` and `segment`. A manifest is confidential, but
still contains no name of a patient, file or machine. It contains no time either, so that the same command on the same files writes the
same manifest.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from angiosynth import __version__
from angiosynth.reading import file_digest
from angiosynth.runtime.output import write_json
from angiosynth.tracking.lineage import git_commit, lineage_path

FORMAT = 1
LIBRARIES = ("nibabel", "numpy", "pydicom", "scipy", "torch")


def manifest_path(root: Path, command: str, name: str) -> Path | None:
    """Return the path lineage/COMMAND-NAME.json; None if `root` is not a project's folder, where no manifest is written."""
    return lineage_path(root, f"{command}-{name}") if (root / "dvc.yaml").is_file() else None


def write_manifest(path: Path | None, inputs: Mapping[str, str], settings: Mapping[str, Any], outputs: Mapping[str, str]) -> None:
    """Write the manifest of a command.

    Args:
        path: from `manifest_path`; None writes nothing.
        inputs: SHA-256 digests, or digests of this project's own kinds, by the role of the input.
        settings: options and sections of params.yaml on which the result depends, JSON values.
        outputs: SHA-256 digests by the role of the output.

    Raises:
        InputError: the file cannot be written.
    """
    if path is not None:
        record = {"inputs": dict(inputs), "settings": dict(settings), "outputs": dict(outputs)}
        write_json(path, {"format": FORMAT, "versions": versions(path.parents[1]), **record})


def versions(root: Path) -> dict[str, str]:
    """Return the versions of this package, the project (its commit), Python and the libraries."""
    program = {"angiosynth": __version__, "commit": git_commit(root), "python": platform.python_version()}
    return program | {library: metadata.version(library) for library in LIBRARIES}


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    return str(file_digest(path).hexdigest())
