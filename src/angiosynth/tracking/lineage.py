"""Root and commit of the repository, lineage files that link stages to runs, and removal of names and paths from recorded values."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from angiosynth.runtime.locks import lock
from angiosynth.runtime.output import read_json, write_json
from angiosynth.runtime.secrets import without_secrets

PATIENT = re.compile(r"(?<![A-Za-z0-9])sub-[A-Za-z0-9]+")
SOMEBODY = "sub-*"
# Folders of a path inside a text: after file: or sqlite:, after ~, or elsewhere unless they continue a web address.
FOLDERS = re.compile(r"""(?:(?:file|sqlite(?:\+\w+)?):/*|~[\w.-]*|(?<!models:)(?<!runs:)(?<![\w./~*-]))/(?:[^\s/'",;:()<>|]+/)+""")


def project_root() -> Path:
    """Return the folder that contains mlruns/.

    DVC_ROOT if set (inside `dvc exp run --temp` or a queue this is the main repository, not the temporary copy), else the nearest parent of
    the working folder with a dvc.yaml, else the working folder.
    """
    named = os.environ.get("DVC_ROOT", "")
    return Path(named).resolve() if named else workspace_root()


def workspace_root() -> Path:
    """Find the nearest parent of the working folder with a dvc.yaml, else the working folder; may be a temporary checkout of `dvc exp`."""
    here = Path.cwd().resolve()
    return next((folder for folder in (here, *here.parents) if (folder / "dvc.yaml").is_file()), here)


def git_commit(folder: Path) -> str:
    """Commit that is checked out in `folder`; "unknown" without git or a commit."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), "rev-parse", "HEAD"],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return done.stdout.strip() if done.returncode == 0 else "unknown"


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Create `folder` and hold its lock within this context, so that only one process at a time creates a database in it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as stream:
        lock(stream.fileno(), wait=True)
        yield


def lineage_path(root: Path, stage: str) -> Path:
    """Path lineage/<stage>.json, with "@" replaced by "-"."""
    return root / "lineage" / f"{stage.replace('@', '-')}.json"


def write_lineage(root: Path, stage: str, facts: Mapping[str, str]) -> None:
    """Write the lineage file that links a stage to its run. No stage depends on it, so values may vary from run to run."""
    write_json(lineage_path(root, stage), dict(facts))


def read_lineage(root: Path, stage: str) -> dict[str, Any]:
    """Read a lineage file; {} if it does not contain a mapping.

    Raises:
        InputError: the file is missing or damaged.
    """
    content = read_json(lineage_path(root, stage))
    return content if isinstance(content, dict) else {}


def flat(settings: Mapping[str, Any], root: Path, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Flatten nested settings (mappings or pydantic sections) to dotted keys and texts, with portable paths."""
    for key, value in settings.items():
        name = f"{prefix}{key}"
        if isinstance(value, BaseModel):
            value = value.model_dump(mode="json", by_alias=True)
        if isinstance(value, Mapping):
            yield from flat(value, root, f"{name}.")
        elif isinstance(value, (list, tuple)):
            yield name, json.dumps([portable(str(item), root) if isinstance(item, (str, Path)) else item for item in value])
        else:
            yield name, portable(str(value), root)


def portable(text: str, root: Path) -> str:
    """Remove secrets, patient names and local paths from a text. Everything that a run records passes through this function.

    Absolute paths become relative to the root. Paths outside the root lose their folders, which may identify a machine or a user. Patient
    names become `sub-*`, although they are pseudonyms.
    """
    text = without_secrets(text)
    path = Path(text)
    if path.is_absolute():
        text = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name
    else:
        text = FOLDERS.sub("", _from_home(_from_root(text, root)))
    return PATIENT.sub(SOMEBODY, text)


def names_someone(text: str, root: Path) -> bool:
    """Return whether the text of a file contains the name of a patient, or the path of the project or of the user's home folder."""
    return PATIENT.search(text) is not None or _from_home(_from_root(text, root)) != text


def _from_root(text: str, root: Path) -> str:
    return text if root == Path("/") else text.replace(f"{root}/", "")


def _from_home(text: str) -> str:
    home = os.path.expanduser("~").rstrip("/")
    return text.replace(f"{home}/", "") if home.startswith("/") else text
