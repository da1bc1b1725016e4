"""DVC's files that a kill can cut off, since DVC 3 rewrites them in place; every later `dvc repro` then ends with an error.

- `.dvc/tmp/rwlock`, the files that running processes read and write: "JSON structure is corrupted" (treeverse/dvc issue 7615). It holds
  no results; DVC starts a new one.
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


def cut_off(root: Path) -> list[Path]:
    """Return the files of a project, relative to it, of which a killed DVC wrote only a part."""
    return [path for path, check in ((RECORD, _is_no_json), (LOCK, _lacks_its_end)) if _content_fails(root / path, check)]


def repair(root: Path) -> list[Path]:
    """Remove `rwlock`, or put `dvc.lock` aside, if it is cut off and no process of DVC is writing it; return the files repaired."""
    if not (damaged := cut_off(root)):
        return []  # DVC takes half a second to import
    from dvc.lock import LockError, make_lock

    repaired = []
    for path in damaged:
        guard = root / GUARDS[path]
        with suppress(LockError), make_lock(str(guard), tmp_dir=str(guard.parent)):
            if path in cut_off(root):  # it may have been in the middle of a write before
                (root / path).replace(root / ASIDE) if path == LOCK else (root / path).unlink()
                repaired.append(path)
    return repaired


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
