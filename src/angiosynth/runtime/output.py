"""Atomic output: files and folders appear complete or not at all, accessible only to their owner."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from angiosynth.errors import InputError
from angiosynth.reading import read_json as read_json
from angiosynth.runtime.faults import fault_line, is_torch_write, write_fault
from angiosynth.runtime.leftovers import PARTIAL, REPLACED, beside, claim, clear, finished_path, hold
from angiosynth.runtime.progress import say
from angiosynth.runtime.stop import uninterrupted

MOUNTS = Path("/proc/self/mountinfo")


@contextmanager
def whole_file(path: Path, *, as_before: bool = False) -> Iterator[Path]:
    """Yield a temporary path next to `path`; on success the temporary file is flushed and replaces `path`, even if that is a link.

    Args:
        path: the file. Only its owner can access it, regardless of the umask and the mode of a file that it replaces.
        as_before: keep the mode of the replaced file, for files without patient data such as params.yaml.

    Raises:
        InputError: the file cannot be written; the message states the reason.
    """
    path = _named(path)
    with _faults(path), _partial(path, folder=False) as temporary:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if path.exists() and not path.is_file():
            raise InputError(f"{path}: is a device or a pipe, no ordinary file; name another")
        if as_before and path.exists():
            temporary.chmod(0o600 | (path.stat().st_mode & 0o777))
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        temporary.replace(path)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder next to `path`; on success it replaces `path`.

    An existing folder is first renamed, then removed; if it cannot be removed a message names it. A link to a folder is followed. Only its
    owner can access the folder.

    Raises:
        InputError: the folder cannot be written; the message states the reason. An existing folder is unchanged.
    """
    path = _linked(_named(path))
    with _faults(path), _partial(path, folder=True) as temporary:
        if path.exists() and not path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if _is_mount(path):
            raise InputError(f"{path}: something is mounted there, so it cannot be replaced whole; name a folder within it")
        yield temporary
        _replace_folder(temporary, path)


def followed(path: Path) -> Path:
    """Resolve a link to a file, for files that users store elsewhere. Outputs of stages replace a link instead, since it may be DVC's.

    Raises:
        InputError: the target of the link is missing.
    """
    if os.path.islink(path) and not path.is_file():
        raise InputError(f"{path}: is a link to {os.readlink(path)}, where no file is; make that file or remove the link")
    return path.resolve() if os.path.islink(path) else path


@contextmanager
def scratch_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder next to `path`, which need not exist, and remove it at the end, together with leftovers of killed runs.

    For files that must not outlive a command; only their owner can access them. Place it in the project's `.work` or next to the output
    instead of the system's folder for temporary files, where leftovers of killed runs would not be noticed.

    Raises:
        OSError: it cannot be created.
    """
    with _partial(path, folder=True) as temporary:
        yield temporary


def write_json(path: Path, value: Any) -> None:
    """Write sorted, indented JSON atomically. NaN and infinity are refused."""
    text = json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n"
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def allocate(path: Path) -> None:
    """Reserve the disk space of a file that is to be memory-mapped; writing to a mapping on a full disk would kill the process.

    Raises:
        OSError: the disk is full.
    """
    if not hasattr(os, "posix_fallocate"):
        return
    with path.open("rb+") as stream:
        try:
            os.posix_fallocate(stream.fileno(), 0, max(1, path.stat().st_size))
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):  # not supported by the file system
                raise


@contextmanager
def _partial(path: Path, *, folder: bool) -> Iterator[Path]:
    """Yield a temporary path made by `claim`, and remove it at the end if it still exists."""
    path.parent.mkdir(parents=True, exist_ok=True)
    clear(path)
    claimed: tuple[Path, int | None] | None = None
    try:
        with uninterrupted():  # a signal between creation and assignment would leave the temporary file behind
            claimed = claim(path, folder=folder)
        yield claimed[0]
    finally:
        with uninterrupted():
            _unclaim(claimed, folder=folder)


def _unclaim(claimed: tuple[Path, int | None] | None, *, folder: bool) -> None:
    if claimed is None:
        return
    temporary, handle = claimed
    if folder:
        shutil.rmtree(temporary, ignore_errors=True)
    else:
        temporary.unlink(missing_ok=True)
    if handle is not None:
        os.close(handle)


@contextmanager
def _faults(path: Path) -> Iterator[None]:
    """Convert write errors of the system and of libraries to InputError about `path`; errors of another file name that file."""
    try:
        yield
    except OSError as error:
        named = error.filename if isinstance(error.filename, str) else None
        raise InputError(
            write_fault(finished_path(path), error) if named is None or _written(Path(named), path) else fault_line(error)
        ) from error
    except RuntimeError as error:
        if not is_torch_write(error):
            raise
        raise InputError(write_fault(finished_path(path), error)) from error


def _written(named: Path, path: Path) -> bool:
    """Whether an error about the file `named` concerns writing `path`: it is `path`, inside it, above it, or its temporary file."""
    temporary = named.parent == path.parent and named.name.startswith(f".{PARTIAL}-")
    return temporary or finished_path(named).is_relative_to(path) or path.is_relative_to(named)


def _named(path: Path) -> Path:
    """Resolve `.` and `..`, which have no name for a temporary path next to them."""
    path = Path(path)
    return path.resolve() if path.name in ("", "..") else path


def _linked(path: Path) -> Path:
    if not os.path.islink(path):
        return path
    if not path.is_dir():
        raise InputError(f"{path}: is a link to {os.readlink(path)}, where no folder is; make that folder or name another")
    return path.resolve()


def _is_mount(path: Path) -> bool:
    if os.path.ismount(path):
        return True
    try:  # a bind mount of the same disk, which `ismount` does not detect
        mounts = [line.split()[4] for line in MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()]
    except (OSError, IndexError):
        return False
    return str(path.resolve()).replace("\\", r"\134").replace(" ", r"\040") in mounts


def _replace_folder(new: Path, path: Path) -> None:
    if not path.exists():
        new.rename(path)
        return
    aside, handle = beside(path, REPLACED), hold(path)
    try:
        _put_aside(path, aside)
        try:
            new.rename(path)
        except BaseException:
            if not path.exists():
                aside.rename(path)
            raise
        try:
            shutil.rmtree(aside)
        except OSError as error:
            say(f"{path}: is the new one; the old one cannot be removed ({error.strerror or error}), what is left lies in {aside}")
    finally:
        if handle is not None:
            os.close(handle)


def _put_aside(path: Path, aside: Path) -> None:
    try:
        path.rename(aside)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        # A layered file system of a container cannot rename folders of lower layers.
        shutil.copytree(path, aside, symlinks=True)
        try:
            shutil.rmtree(path)
        except OSError:
            shutil.copytree(aside, path, symlinks=True, dirs_exist_ok=True)
            shutil.rmtree(aside)
            raise
