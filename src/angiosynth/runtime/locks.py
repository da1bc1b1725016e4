"""Locks on files and folders, which the operating system releases when the process ends for any reason."""

from __future__ import annotations

try:
    import fcntl
except ImportError:  # Windows locks byte ranges of files, cannot open folders, and cannot rename open files
    fcntl = None  # type: ignore[assignment]

RENAMES_OPEN_FILES = fcntl is not None


def lock(handle: int, *, wait: bool = False) -> None:
    """Lock an open file, or on Linux and macOS an open folder, against other processes.

    Args:
        handle: the file descriptor; closing it releases the lock.
        wait: wait until other processes have released the lock.

    Raises:
        BlockingIOError: another process holds the lock, and `wait` is false.
        OSError: the file system does not support locks.
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
