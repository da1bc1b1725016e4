"""URIs of databases, and locks by which processes take turns at one: a file on one machine, the server's lock on several."""

from __future__ import annotations

import hashlib
import os
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from angiosynth.errors import InputError
from angiosynth.runtime.progress import say
from angiosynth.runtime.secrets import without_secrets
from angiosynth.tracking.lineage import alone_in

STUDIES = "ANGIOSYNTH_STUDIES"
LOCKED_S = 60  # so long another program may hold an SQLite file
CONNECT_S = 10  # a server that is silent so long is away


def studies_uri(root: Path) -> str:
    """ANGIOSYNTH_STUDIES where the user set it, else the SQLite file under `root`.

    Raises:
        InputError: it names no PostgreSQL database.
    """
    named = os.environ.get(STUDIES, "")
    if named and not is_postgres(named):
        raise InputError(f"{STUDIES}: takes postgresql://USER@HOST/DATABASE; without it studies lie in mlruns/optuna.db")
    return named or sqlite_uri(Path(root).resolve() / "mlruns" / "optuna.db")


def sqlite_uri(path: Path) -> str:
    """The URI of a database file, whatever characters its absolute path has.

    Where some must be encoded the driver is named too: of a plain `sqlite:///` MLflow makes the folder, as it is written there.
    """
    encoded = str(path).replace("%", "%25").replace("?", "%3F").replace("#", "%23")
    return f"sqlite{'' if encoded == str(path) else '+pysqlite'}:///{encoded}"


def file_location(path: Path) -> str:
    """A folder as MLflow takes it for artifacts: it decodes percent signs, also those of a plain path."""
    return path.as_uri() if "%" in str(path) else str(path)


def is_postgres(uri: str) -> bool:
    return re.match(r"postgres(ql)?(\+\w+)?://", uri) is not None


@contextmanager
def alone_at(uri: str, folder: Path, name: str) -> Iterator[None]:
    """Hold a lock on a database among this machine's processes or, on a server, among all that use it.

    Args:
        uri: the database. A PostgreSQL server holds the lock, and releases it when the process or its connection ends.
        folder: for any other database the lock is a file in this folder, which is made.
        name: the lock's.

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
    # Within a transaction, so that a pool of connections before the server gives it to nobody else meanwhile.
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("select pg_advisory_xact_lock(:key)"), {"key": key})
        yield


def wait_for(uri: str, name: str) -> None:
    """Wait while another program has an SQLite database locked. Returns at once for other databases and for missing files.

    MLflow and Optuna would take a locked file for a broken one.

    Args:
        uri: the database.
        name: of the database, for messages.

    Raises:
        InputError: it stays locked, or is no file that can be written.
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


def _why_not_writable(path: Path) -> str | None:
    """SQLite's message where another program holds the lock; None where a write could begin."""
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path.resolve()))}?mode=rw", uri=True, timeout=0.5)) as database:
            database.execute("begin immediate")
            number = database.execute("pragma user_version").fetchone()[0]
            database.execute(f"pragma user_version = {number}")  # a read-only file lets a transaction begin, but nothing be written
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
    """The URI with psycopg 3 as its driver where it names none."""
    return re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", uri)


def unusable(uri: str, error: Exception) -> InputError:
    """The one line to say of studies that cannot be read or written."""
    cause = error.__cause__ if isinstance(error.__cause__, Exception) else error  # Optuna's error does not name the cause
    first = (without_secrets(str(cause)).splitlines() or [type(cause).__name__])[0]
    place, cure = (STUDIES, "see docs/team.md") if is_postgres(uri) else ("mlruns/optuna.db", "mend it or move it away")
    return InputError(f"{place}: cannot be used ({first}); {cure}")


def in_short(message: str) -> str:
    """One line without passwords; of a request that failed, where it went and why."""
    message = without_secrets(message)
    request = re.search(r"API request to (\w+://[^/\s]+).*?(?:\[Errno -?\d+\] ([^'\")]+)|(timed out))", message, re.DOTALL)
    driver = re.search(r"\(\w+\.\w*Error\) ([^\n]+)", message)  # the text before it, SQLAlchemy's, names no cause
    line = f"{request[1]}: {request[2] or request[3]}" if request else driver[1] if driver else message.splitlines()[0]
    return line[:200]
