"""DVC's files that a kill can leave unusable, since DVC 3 rewrites them in place; every later `dvc repro` then ends with an error.

- `.dvc/tmp/rwlock`, the files that running processes read and write: "JSON structure is corrupted" (treeverse/dvc issue 7615) where it is
  cut off. It holds no results; DVC starts a new one. Or "is busy" where the process id of a killed run exists without being that run: a
  zombie, as in containers whose first process reaps none, or another program since a restart of the machine.
- `dvc.lock`, the digests of all stages: "validation failed". DVC writes a new one, and takes finished stages from its record of runs.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from angiosynth.errors import InputError
from angiosynth.reading import parse_json, read_text

TEMPORARY = Path(".dvc", "tmp")
RECORD, LOCK = TEMPORARY / "rwlock", Path("dvc.lock")
GUARDS = {RECORD: TEMPORARY / "rwlock.lock", LOCK: TEMPORARY / "lock"}  # held by the process that writes the file
ASIDE = TEMPORARY / "dvc.lock.cut-off"


def damaged_files(root: Path) -> list[Path]:
    """Return the files of a project, relative to it, that a killed DVC left cut off or, `rwlock`, in the name of no living process."""
    files = [path for path, check in ((RECORD, _is_no_json), (LOCK, _lacks_its_end)) if _content_fails(root / path, check)]
    return files if RECORD in files or not _blocked_by_nobody(root / RECORD) else [RECORD, *files]


def repair(root: Path) -> list[Path]:
    """Remove `rwlock`, or put `dvc.lock` aside, if it is damaged and no process of DVC is writing it; return the files repaired."""
    if not (damaged := damaged_files(root)):
        return []  # DVC takes half a second to import
    from dvc.lock import LockError, make_lock

    repaired = []
    for path in damaged:
        guard = root / GUARDS[path]
        with suppress(LockError), make_lock(str(guard), tmp_dir=str(guard.parent)):
            if path in damaged_files(root):  # it may have been in the middle of a write before
                (root / path).replace(root / ASIDE) if path == LOCK else (root / path).unlink()
                repaired.append(path)
    return repaired


def _blocked_by_nobody(path: Path) -> bool:
    """Whether `rwlock` names process ids that exist, which DVC takes for running DVCs, and none of them has written it."""
    try:
        written, table = path.stat().st_mtime, parse_json(read_text(path))
        readers = [entry for entries in table["read"].values() for entry in entries]
        ids = {int(entry["pid"]) for entry in (*readers, *table["write"].values())}
    except (OSError, InputError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False
    import psutil  # type: ignore[import-untyped]

    existing = [number for number in ids if psutil.pid_exists(number)]
    return bool(existing) and not any(_may_have_written(number, written) for number in existing)


def _may_have_written(number: int, written: float) -> bool:
    """Whether a process runs and began before a file was written; clocks of processes are exact to a hundredth of a second."""
    import psutil

    try:
        process = psutil.Process(number)
        return bool(process.status() != psutil.STATUS_ZOMBIE and process.create_time() <= written + 1)
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:  # another user's, of whom nothing can be read
        return True


def _content_fails(path: Path, check: Callable[[str], bool]) -> bool:
    try:
        text = read_text(path)
    except (OSError, InputError):
        return False
    except UnicodeDecodeError:
        return True
    return check(text)


def _is_no_json(text: str) -> bool:
    try:
        parse_json(text)
    except (ValueError, RecursionError):
        return True
    return False


def _lacks_its_end(text: str) -> bool:
    """Whether the last line has no end. A file with marks of a merge conflict has one: that is for its user to resolve."""
    return not text.endswith("\n")
