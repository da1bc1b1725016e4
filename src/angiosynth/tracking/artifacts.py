"""Locations of a run's files, and fetching one: an ordinary file of bounded size, from no other server than the registry's."""

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

THROUGH_SERVER = ("http", "https", "mlflow-artifacts")  # MLflow sends the login there
STORES = (*THROUGH_SERVER, "s3", "gs", "wasbs", "abfss", "hdfs", "sftp")


def local_folder(uri: str) -> Path | None:
    """The folder of a run's artifact location; None if it is not on this machine."""
    parts = urlsplit(uri)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return Path(unquote(parts.path))
    return None if parts.scheme else Path(unquote(uri))  # MLflow decodes plain paths too


def refuse_other_places(uri: str, tracking_uri: str) -> None:
    """Refuse artifact locations on other servers or of unknown kinds: whoever created the experiment chose the location.

    Raises:
        InputError: another server, which would be sent the login of this one, or another kind of place.
    """
    parts = urlsplit(uri)
    if parts.scheme not in STORES:
        raise InputError(f"{uri}: files are not fetched from such a place; let the run's files lie in one of {', '.join(STORES)}")
    registry = urlsplit(tracking_uri)
    if parts.scheme in THROUGH_SERVER and parts.netloc and (parts.hostname, parts.port) != (registry.hostname, registry.port):
        raise InputError(f"{uri}: the run's files lie on another server than the registry's, which is not asked; keep them behind the same")


def copy_ordinary(source: Path, target: Path, most: int) -> None:
    """Copy a file of at most `most` bytes. A link, pipe or device is not opened, and a file that grows meanwhile is not copied past that.

    Raises:
        InputError: it is no ordinary file, or larger.
        OSError: it is missing or cannot be read.
    """
    if not stat.S_ISREG(os.lstat(source).st_mode):  # before it is opened, which a pipe may never be
        raise InputError(f"{source}: is no ordinary file; put the file itself there")
    handle = os.open(source, READ_ONLY | getattr(os, "O_NOFOLLOW", 0))
    with os.fdopen(handle, "rb") as stream:
        facts = os.fstat(handle)
        if not stat.S_ISREG(facts.st_mode):  # again, for it may have been exchanged
            raise InputError(f"{source}: is no ordinary file; put the file itself there")
        if facts.st_size > most:
            raise _too_large(source, facts.st_size, most)
        with files_at_most(most, source), target.open("wb") as copy:
            shutil.copyfileobj(stream, copy)


@contextmanager
def files_at_most(most: int, source: Path | str) -> Iterator[None]:
    """Within, the system lets this process write no file longer than so many bytes, whatever a server announced. Windows has no such limit.

    Raises:
        InputError: more was to be written.
    """
    if resource is None:
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    least = min([most, *(limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY)])
    resource.setrlimit(resource.RLIMIT_FSIZE, (least, hard))  # Python ignores the signal, so that a write fails
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
