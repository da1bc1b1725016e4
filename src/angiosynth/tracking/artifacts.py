"""Artifact locations of runs, and fetching of files: regular files of bounded size, only from the registry's server."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from angiosynth.errors import InputError
from angiosynth.reading import READ_ONLY

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

THROUGH_SERVER = ("http", "https", "mlflow-artifacts")  # MLflow sends the user's login to such servers
STORES = (*THROUGH_SERVER, "s3", "gs", "wasbs", "abfss", "hdfs", "sftp")


def local_folder(uri: str) -> Path | None:
    """Return the folder of an artifact location; None if it is not on this machine."""
    location = urlsplit(uri)
    if location.scheme == "file" and location.netloc in ("", "localhost"):
        return Path(unquote(location.path))
    return None if location.scheme else Path(unquote(uri))  # MLflow decodes plain paths too


def refuse_other_places(uri: str, tracking_uri: str) -> None:
    """Check that an artifact location is of a known kind and on the registry's server. Whoever created the experiment chose the location.

    Raises:
        InputError: it is on another server, which would receive the login for this one, or of another kind.
    """
    location = urlsplit(uri)
    if location.scheme not in STORES:
        raise InputError(f"{uri}: files are not fetched from such a place; let the run's files lie in one of {', '.join(STORES)}")
    registry = urlsplit(tracking_uri)
    if location.scheme in THROUGH_SERVER and location.netloc and (location.hostname, location.port) != (registry.hostname, registry.port):
        raise InputError(f"{uri}: the run's files lie on another server than the registry's, which is not asked; keep them behind the same")


def copy_ordinary(source: Path, target: Path, most: int) -> None:
    """Copy a regular file of at most `most` bytes, even if it grows meanwhile. Links, pipes and devices are not opened.

    Raises:
        InputError: it is not a regular file, or larger.
        OSError: it is missing or cannot be read.
    """
    if not stat.S_ISREG(os.lstat(source).st_mode):  # first, since opening a pipe may block
        raise InputError(f"{source}: is no ordinary file; put the file itself there")
    handle = os.open(source, READ_ONLY | getattr(os, "O_NOFOLLOW", 0))
    with os.fdopen(handle, "rb") as stream:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):  # the path may have been replaced in between
            raise InputError(f"{source}: is no ordinary file; put the file itself there")
        if status.st_size > most:
            raise _too_large(source, status.st_size, most)
        with files_at_most(most, source), target.open("wb") as copy:
            shutil.copyfileobj(stream, copy)


@contextmanager
def files_at_most(most: int, source: Path | str) -> Iterator[None]:
    """Let the operating system limit files written by this process to `most` bytes within this context. Without effect on Windows.

    The limit holds whatever size a server announces.

    Raises:
        InputError: a write exceeded the limit.
    """
    if resource is None:
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    least = min([most, *(limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY)])
    resource.setrlimit(resource.RLIMIT_FSIZE, (least, hard))  # Python ignores the signal, so writes raise OSError
    try:
        yield
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise _too_large(source, most + 1, most) from error
        raise
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def _too_large(source: Path | str, size: int, most: int) -> InputError:
    return InputError(f"{source}: has {size:,} bytes or more, at most {most:,} are taken; it is no such file of this project")
