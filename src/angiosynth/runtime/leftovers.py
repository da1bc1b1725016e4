"""Temporary files and folders next to their targets. Names and locks identify those of killed runs, which are removed.

`.partial-MACHINE-TOKEN-NAME` is a target that is being written, `.replaced-MACHINE-TOKEN-NAME` an old folder that is being removed. The
writer holds a lock on it, which the kernel releases when the process dies. A file that can be locked on the machine that made it is thus
a leftover. Some network drives do not show locks of other machines, so files of other machines are left alone.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import secrets
import shutil
from contextlib import suppress
from pathlib import Path

from angiosynth.reading import READ_ONLY
from angiosynth.runtime.locks import RENAMES_OPEN_FILES, lock
from angiosynth.runtime.private import PLACES
from angiosynth.runtime.progress import say

MACHINE = hashlib.sha256(platform.node().encode()).hexdigest()[:8]
PARTIAL, REPLACED = "partial", "replaced"
NAME = re.compile(rf"\.({PARTIAL}|{REPLACED})-([0-9a-f]{{8}})-[0-9a-f]{{8}}-(.+)", re.DOTALL)
NO_LINK = READ_ONLY | getattr(os, "O_NOFOLLOW", 0)
LONGEST = 200  # bytes of the target's name in the temporary name; file names are limited to 255 bytes


def claim(target: Path, *, folder: bool) -> tuple[Path, int | None]:
    """Create an empty, locked file or folder next to the target, accessible only to its owner.

    Returns:
        Its path, with the suffix of the target, since writers choose the format by it; and the handle that holds the lock until it is
        closed. The handle is None on systems that cannot rename open files: leftovers cannot be distinguished from active files there and
        are not removed.

    Raises:
        OSError: it cannot be created.
    """
    path = beside(target, PARTIAL)
    # Lock under a name that no process looks for, then rename: another process never sees the final name without a lock.
    unnamed = path.with_name(f".{PARTIAL}-new-{secrets.token_hex(8)}")
    handle: int | None = None
    try:
        if folder:
            unnamed.mkdir(mode=0o700)
            handle = os.open(unnamed, os.O_RDONLY) if RENAMES_OPEN_FILES else None
        else:
            handle = os.open(unnamed, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        if handle is not None and not RENAMES_OPEN_FILES:
            os.close(handle)
            handle = None
        if handle is not None:
            with suppress(OSError):  # on a disk without locks no process can lock it and take it for a leftover either
                lock(handle)
        unnamed.rename(path)
    except OSError:
        if handle is not None:
            os.close(handle)
        remove = unnamed.rmdir if folder else unnamed.unlink
        with suppress(OSError):
            remove()
        raise
    return path, handle


def beside(target: Path, kind: str) -> Path:
    """Return a new hidden path in the folder of the target."""
    return target.with_name(f".{kind}-{MACHINE}-{secrets.token_hex(4)}-{_tail(target.name)}")


def finished_path(path: Path) -> Path:
    """Replace temporary names in a path by the final ones, for messages."""
    return Path(*(match[3] if (match := NAME.fullmatch(name)) else name for name in path.parts))


def clear(target: Path) -> None:
    """Remove leftovers of killed runs in the folder of the target, and restore a folder that a killed run was replacing. Prints each."""
    for path in sorted(target.parent.glob(".[pr]*")):
        match = NAME.fullmatch(path.name)
        if match is None:
            continue
        kind, machine, tail = match.groups()
        same = tail == _tail(target.name)
        if kind == REPLACED and not same:
            continue
        if machine != MACHINE:
            if same:
                say(f"{path}: of a run on another machine; if that run has ended, remove it")
            continue
        _settle(path, target, kind)


def clear_project(root: Path) -> None:
    """Remove leftovers of killed runs on this machine from a whole project, as `clear` does in one folder. Prints each.

    Does nothing outside a project.
    """
    for path in abandoned(root) if (root / "dvc.yaml").is_file() else ():
        if (match := NAME.fullmatch(path.name)) and len(os.fsencode(match[3])) < LONGEST:  # longer names are truncated
            _settle(path, path.with_name(match[3]), match[1])


def abandoned(root: Path) -> list[Path]:
    """List leftovers of killed runs on this machine in the folder of a project and, three levels deep, in its output folders."""
    paths = sorted(root.glob(".[pr]*"))
    paths += [path for name in PLACES for depth in ("", "*/", "*/*/") for path in sorted(root.glob(f"{name}/{depth}.[pr]*"))]
    return [path for path in paths if (match := NAME.fullmatch(path.name)) and match[2] == MACHINE and _is_free(path)]


def _is_free(path: Path) -> bool:
    """Whether no running process holds the lock."""
    if not RENAMES_OPEN_FILES:  # no file is locked on such systems
        return False
    try:
        handle = os.open(path, NO_LINK)
    except OSError:
        return False
    try:
        lock(handle)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True


def hold(path: Path) -> int | None:
    """Lock an existing folder and return the handle, or None if it cannot be opened."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    with suppress(OSError):
        lock(handle)
    return handle


def _settle(path: Path, target: Path, kind: str) -> None:
    if not RENAMES_OPEN_FILES:
        return
    try:
        handle = os.open(path, NO_LINK)
    except OSError:  # a link, or not readable for this user
        return
    try:
        lock(handle)
        if kind == REPLACED and not os.path.lexists(target):
            path.rename(target)
            say(f"{target}: restored; a run that was replacing it was killed")
            return
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        say(f"{path}: removed; an earlier run had left it")
    except BlockingIOError:  # its process is still writing
        return
    except OSError as error:
        say(f"{path}: left by a run that was killed or still goes on, not removed ({error.strerror or error}); see to it by hand")
    finally:
        os.close(handle)


def _tail(name: str) -> str:
    while len(os.fsencode(name)) > LONGEST:
        name = name[1:]
    return name
