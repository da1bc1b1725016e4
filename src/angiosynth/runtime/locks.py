"""Locks on files and folders that the system releases when their process dies, however it dies."""

from __future__ import annotations

try:
    import fcntl
except ImportError:  # Windows: it locks bytes of files, opens no folder, and renames nothing that is open
    fcntl = None  # type: ignore[assignment]

RENAMES_OPEN_FILES = fcntl is not None


def lock(handle: int, *, wait: bool = False) -> None:
    """Lock an open file, or on Linux and macOS an open folder, against other processes.

    Args:
        handle: the file descriptor; closing it releases the lock.
        wait: until the other process has released it.

    Raises:
        BlockingIOError: another process holds it, and `wait` is false.
        OSError: the disk has no locks.
    """
    if fcntl is not None:
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        return
    import msvcrt

    mode = msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK
    try:
        msvcrt.locking(handle, mode, 1)
    except PermissionError as error:
        raise BlockingIOError(*error.args) from error
