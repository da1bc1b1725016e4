"""Run manifests: what a command that is no stage was given and has made, by digest, in the project's folder lineage/.

DVC keeps the inputs of stages in dvc.lock; nothing keeps those of `import`, `release`, `export` and `segment`. A manifest stays in the
house, and yet names no patient, file or machine. It holds no time either: the same command on the same files leaves the same manifest.
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
    """lineage/COMMAND-NAME.json of a project's folder; None where `root` is none, and nothing is left."""
    return lineage_path(root, f"{command}-{name}") if (root / "dvc.yaml").is_file() else None


def write_manifest(path: Path | None, inputs: Mapping[str, str], settings: Mapping[str, Any], outputs: Mapping[str, str]) -> None:
    """Leave the manifest of a command.

    Args:
        path: of `manifest_path`.
        inputs: SHA-256, or a digest of this project's, by the input's role.
        settings: options and sections of params.yaml that the result depends on, JSON values.
        outputs: SHA-256 by the output's role.

    Raises:
        InputError: it cannot be written.
    """
    if path is not None:
        made = {"inputs": dict(inputs), "settings": dict(settings), "outputs": dict(outputs)}
        write_json(path, {"format": FORMAT, "versions": versions(path.parents[1]), **made})


def versions(root: Path) -> dict[str, str]:
    """This package's version, the project's commit, Python's and the libraries' versions."""
    own = {"angiosynth": __version__, "commit": git_commit(root), "python": platform.python_version()}
    return own | {library: metadata.version(library) for library in LIBRARIES}


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hex digits."""
    return str(file_digest(path).hexdigest())
