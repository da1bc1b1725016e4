"""The repository's root and commit, the file that ties a stage to its run, and values without names and places."""

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
# The folders before a name, wherever a path stands in a text: after file: and sqlite:, after ~, or where no address of the web goes on.
FOLDERS = re.compile(r"""(?:(?:file|sqlite(?:\+\w+)?):/*|~[\w.-]*|(?<!models:)(?<!runs:)(?<![\w./~*-]))/(?:[^\s/'",;:()<>|]+/)+""")


def project_root() -> Path:
    """The folder that holds mlruns/.

    DVC_ROOT where set (inside `dvc exp run --temp` or a queue that is the main repository, not the temporary copy),
    else the nearest parent of the working folder with a dvc.yaml, else the working folder.
    """
    named = os.environ.get("DVC_ROOT", "")
    return Path(named).resolve() if named else workspace_root()


def workspace_root() -> Path:
    """The nearest parent of the working folder with a dvc.yaml, else the working folder: this checkout, temporary or not."""
    here = Path.cwd().resolve()
    return next((folder for folder in (here, *here.parents) if (folder / "dvc.yaml").is_file()), here)


def git_commit(folder: Path) -> str:
    """The commit checked out in `folder`, "unknown" without git or a commit."""
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
    """Make `folder` and hold its lock: one process at a time creates a database in it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as stream:
        lock(stream.fileno(), wait=True)
        yield


def lineage_path(root: Path, stage: str) -> Path:
    """lineage/<stage>.json with @ as -."""
    return root / "lineage" / f"{stage.replace('@', '-')}.json"


def write_lineage(root: Path, stage: str, facts: Mapping[str, str]) -> None:
    """Tie a stage to its run. No stage depends on the file, so it may hold facts that change from run to run."""
    write_json(lineage_path(root, stage), dict(facts))


def read_lineage(root: Path, stage: str) -> dict[str, Any]:
    """The facts of write_lineage; {} where the file holds something else.

    Raises:
        InputError: the file is missing or damaged.
    """
    facts = read_json(lineage_path(root, stage))
    return facts if isinstance(facts, dict) else {}


def flat(settings: Mapping[str, Any], root: Path, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested settings (mappings or pydantic sections) as dotted keys and text, absolute paths made portable."""
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
    """A text as a run may hold it: without secrets, patients' names and places. All that is recorded goes through here.

    An absolute path becomes one as seen from the root; one outside it loses its folders: they name a machine or its user. Patients' names,
    though they are pseudonyms, become `sub-*`.
    """
    text = without_secrets(text)
    path = Path(text)
    if path.is_absolute():
        text = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name
    else:
        text = FOLDERS.sub("", _from_home(_from_root(text, root)))
    return PATIENT.sub(SOMEBODY, text)


def names_someone(text: str, root: Path) -> bool:
    """Whether a file's text names a patient, or the folder of the project or of its user."""
    return PATIENT.search(text) is not None or _from_home(_from_root(text, root)) != text


def _from_root(text: str, root: Path) -> str:
    return text if root == Path("/") else text.replace(f"{root}/", "")


def _from_home(text: str) -> str:
    home = os.path.expanduser("~").rstrip("/")
    return text.replace(f"{home}/", "") if home.startswith("/") else text
