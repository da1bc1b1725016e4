"""Database URIs, and locks on databases: a file lock on one machine, the server's advisory lock across machines."""

from __future__ import annotations

import hashlib
import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from angiosynth.errors import InputError
from angiosynth.runtime.output import scratch_folder
from angiosynth.runtime.progress import say
from angiosynth.runtime.secrets import without_secrets
from angiosynth.tracking.lineage import alone_in

STUDIES = "ANGIOSYNTH_STUDIES"
LOCKED_S = 60  # seconds to wait for another program that locks an SQLite file
CONNECT_S = 10  # seconds until a server without answer counts as unreachable


def studies_uri(root: Path) -> str:
    """Return the URI of the studies' database: ANGIOSYNTH_STUDIES if set, else the SQLite file under `root`.

    Raises:
        InputError: the variable is not the URI of a PostgreSQL database.
    """
    named = os.environ.get(STUDIES, "")
    if named and not is_postgres(named):
        raise InputError(f"{STUDIES}: takes postgresql://USER@HOST/DATABASE; without it studies lie in mlruns/optuna.db")
    return named or sqlite_uri(Path(root).resolve() / "mlruns" / "optuna.db")


def sqlite_uri(path: Path) -> str:
    """Return the URI of an SQLite file; characters of its absolute path are encoded if necessary.

    An encoded URI also names the driver, because MLflow creates the folder of a plain `sqlite:///` URI without decoding it.
    """
    encoded = str(path).replace("%", "%25").replace("?", "%3F").replace("#", "%23")
    return f"sqlite{'' if encoded == str(path) else '+pysqlite'}:///{encoded}"


def file_location(path: Path) -> str:
    """Return a folder as an artifact location of MLflow, which decodes percent signs even in plain paths."""
    return path.as_uri() if "%" in str(path) else str(path)


def is_postgres(uri: str) -> bool:
    return re.match(r"postgres(ql)?(\+\w+)?://", uri) is not None


@contextmanager
def alone_at(uri: str, folder: Path, name: str) -> Iterator[None]:
    """Hold a lock on a database within this context, among all processes of this machine or all clients of a server.

    Args:
        uri: the database. A PostgreSQL server holds the lock and releases it when the connection or the process ends.
        folder: for other databases the lock is a file in this folder, which is created.
        name: name of the lock.

    Raises:
        SQLAlchemyError: the server does not answer.
    """
    if not is_postgres(uri):
        with alone_in(folder):
            yield
        return
    import sqlalchemy

    key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)
    engine: Any = sqlalchemy.create_engine(driven(uri), poolclass=sqlalchemy.NullPool, connect_args={"connect_timeout": CONNECT_S})
    # The lock belongs to a transaction, so that a connection pooler in front of the server does not share the connection meanwhile.
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("select pg_advisory_xact_lock(:key)"), {"key": key})
        yield


def wait_for(uri: str, name: str) -> None:
    """Wait while another program locks an SQLite database. Returns at once for other databases and missing files.

    MLflow and Optuna would treat a locked file as broken.

    Args:
        uri: the database.
        name: name of the database for messages.

    Raises:
        InputError: it stays locked, or is not a writable file.
        sqlite3.DatabaseError: it is damaged.
    """
    path = _sqlite_file(uri)
    if path is None or not path.exists():
        return
    if not path.is_file():
        raise InputError(f"{name}: {path.name} is a folder and no database; move it away")
    begin, announced = time.monotonic(), False
    while (reason := _why_not_writable(path)) is not None:
        waited = time.monotonic() - begin
        if waited > LOCKED_S:
            raise InputError(
                f"{name}: locked by another program for {LOCKED_S} s ({reason}); end that program or wait for it, then run again"
            )
        if waited > 1 and not announced:
            say(f"{name}: locked by another program, waiting for it up to {LOCKED_S} s")
            announced = True
        time.sleep(0.2)


def make_whole(uri: str, create: Callable[[str], object]) -> None:
    """Create a missing SQLite database in a temporary folder first, since a kill while tables are made leaves one that never opens.

    In a folder, since SQLite puts its own files next to the database: outside it, commands that run beside this one would remove them as
    leftovers of a killed run. To be called with the lock of `alone_at`.

    Args:
        uri: the database; nothing is done if it exists or belongs to a server.
        create: makes all tables of a database given by its URI, and leaves no connection open.

    Raises:
        InputError: it cannot be written.
    """
    path = _sqlite_file(uri)
    if path is None or os.path.lexists(path):
        return
    try:
        with scratch_folder(path) as folder:
            made = folder / path.name
            create(sqlite_uri(made))
            made.chmod(0o600)
            made.replace(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be made ({error.strerror or error}); see to its folder's permissions and room") from error


def _why_not_writable(path: Path) -> str | None:
    """SQLite's message if another program holds the lock; None if writing is possible."""
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path.resolve()))}?mode=rw", uri=True, timeout=0.5)) as database:
            database.execute("begin immediate")
            number = database.execute("pragma user_version").fetchone()[0]
            database.execute(f"pragma user_version = {number}")  # a transaction can begin on a read-only file, but writing fails
            database.rollback()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return str(error)
        if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
            raise InputError(f"{path}: cannot be written ({error}); mend its permissions and its folder's") from error
        raise
    return None


def _sqlite_file(uri: str) -> Path | None:
    if not uri.startswith("sqlite"):
        return None
    from sqlalchemy.engine import make_url

    file = make_url(uri).database
    return None if not file or file == ":memory:" or file.startswith("file:") else Path(file)


def driven(uri: str) -> str:
    """Add psycopg 3 as the driver to a PostgreSQL URI without one."""
    return re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", uri)


def unusable(uri: str, error: Exception) -> InputError:
    """InputError for a studies database that cannot be read or written."""
    cause = error.__cause__ if isinstance(error.__cause__, Exception) else error  # Optuna's message omits the cause
    first = (without_secrets(str(cause)).splitlines() or [type(cause).__name__])[0]
    place, cure = (STUDIES, "see docs/team.md") if is_postgres(uri) else ("mlruns/optuna.db", "mend it or move it away")
    return InputError(f"{place}: cannot be used ({first}); {cure}")


def in_short(message: str) -> str:
    """Shorten an error message to one line without passwords; for a failed request, its address and the reason."""
    message = without_secrets(message)
    request = re.search(r"API request to (\w+://[^/\s]+).*?(?:\[Errno -?\d+\] ([^'\")]+)|(timed out))", message, re.DOTALL)
    driver = re.search(r"\(\w+\.\w*Error\) ([^\n]+)", message)  # preceded by a text of SQLAlchemy without the cause
    line = f"{request[1]}: {request[2] or request[3]}" if request else driver[1] if driver else message.splitlines()[0]
    return line[:200]
