"""DVC's record of the files that its running processes read and write, `.dvc/tmp/rwlock`.

DVC rewrites this file in place. A kill in the middle leaves half a file, and every later `dvc repro` ends with "JSON structure is
corrupted" (dvc 3.x; treeverse/dvc issue 7615). The record holds no results: without it, DVC starts a new one.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from angiosynth.errors import InputError
from angiosynth.reading import parse_json, read_text

RECORD, GUARD = Path(".dvc", "tmp", "rwlock"), Path(".dvc", "tmp", "rwlock.lock")
BROKEN = "JSON structure is corrupted"  # of DVC's message


def is_broken(root: Path) -> bool:
    """Return whether a project's record is half a file."""
    try:
        parse_json(read_text(root / RECORD))
    except (FileNotFoundError, PermissionError, InputError):
        return False
    except (ValueError, RecursionError):
        return True
    return False


def remove_broken(root: Path) -> bool:
    """Remove a project's record if it is half a file and no process of DVC is writing it; return whether it was removed."""
    if not is_broken(root):
        return False
    from dvc.lock import LockError, make_lock

    with suppress(LockError), make_lock(str(root / GUARD), tmp_dir=str((root / GUARD).parent)):
        if is_broken(root):  # it may have been in the middle of a write before
            (root / RECORD).unlink(missing_ok=True)
            return True
    return False
