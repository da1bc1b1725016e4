"""Bounded reading of files from outside: ordinary files only, and at most a stated number of bytes.

Scans, packages, models, tables and settings may come from strangers. A pipe would be waited on for ever, a device has no end, and a file
may grow while it is read; so a path is looked at before it is opened, opened so that nothing blocks, looked at again, and read up to a
limit. tests/security/test_one_way_to_open.py sees to it that no module opens files in another way.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
import stat
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from angiosynth.errors import InputError

MIB = 1 << 20
MOST_TEXT = 4 * MIB  # settings, lists of checksums, pages: the longest that this project writes has a quarter of a MiB
# Parsed, JSON takes up to 25 times its length (empty lists): 100 MB. A description of 10,000 imported patients has 3.5 MiB.
MOST_JSON = 4 * MIB
MOST_DEPTH = 32  # of nested JSON; this project writes 7
MOST_DIGITS = 40  # of a number; a 64-bit one has 20, a float in full precision 17
MOST_TABLE = 8 * MIB
MOST_ROWS, MOST_COLUMNS = 100_000, 1_000  # of a table: patients times seeds, or logged steps of a training
MOST_PICTURE = 64 * MIB
# Binary, closed in children, waiting for nothing, becoming no terminal: as far as the system has such flags. Windows has the first alone.
READ_ONLY = os.O_RDONLY
for _flag in ("O_BINARY", "O_CLOEXEC", "O_NONBLOCK", "O_NOCTTY"):
    READ_ONLY |= getattr(os, _flag, 0)
KINDS = ((stat.S_ISDIR, "folder"), (stat.S_ISFIFO, "pipe"), (stat.S_ISSOCK, "socket"))


def open_file(path: Path) -> BinaryIO:
    """Open an ordinary file for reading; links are followed. Nothing else is ever opened, and nothing waited on.

    Raises:
        InputError: it is a folder, a device or a pipe.
        OSError: it is missing or cannot be read.
    """
    refuse_other_kinds(path, os.stat(path).st_mode)  # before it is opened: opening a device may already do something to it
    handle = os.open(path, READ_ONLY)
    try:
        refuse_other_kinds(path, os.fstat(handle).st_mode)  # again: it may have been exchanged
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def refuse_other_kinds(path: Path, mode: int) -> None:
    """Refuse a path whose mode is not that of an ordinary file.

    Raises:
        InputError: it is a folder, a pipe, a socket or a device.
    """
    if not stat.S_ISREG(mode):
        kind = next((name for is_kind, name in KINDS if is_kind(mode)), "device")
        raise InputError(f"{path}: is a {kind}, a file is needed; name one")


def resolved(path: Path) -> Path:
    """The absolute path, links followed. `Path.resolve` raises RuntimeError for links that lead in a circle; here they stay as they are."""
    return Path(os.path.realpath(path))


def read_bytes(path: Path, most: int) -> bytes:
    """A file's bytes.

    Raises:
        InputError: it is no ordinary file, or longer than `most` bytes.
        OSError: it is missing or cannot be read.
    """
    with open_file(path) as stream:
        length = os.fstat(stream.fileno()).st_size
        data = stream.read(length + 1) if length <= most else b""
        while length < len(data) <= most and (more := stream.read(MIB)):  # it grew, or is one of /proc, whose lengths are 0
            data += more
    if length > most or len(data) > most:
        raise InputError(f"{path}: has {max(length, len(data)):,} bytes, more than the {most:,} that it may have; look at what it is")
    return data


def read_text(path: Path, most: int = MOST_TEXT) -> str:
    """A file's UTF-8 text, its line ends as they are.

    Raises:
        InputError: it is no ordinary file, or longer than `most` bytes.
        OSError, UnicodeDecodeError: it is missing, cannot be read, or is no UTF-8.
    """
    return read_bytes(path, most).decode("utf-8")


def file_digest(path: Path) -> Any:
    """The SHA-256 of a file, as `hashlib` has it; it is not read beyond the length that it has when it is opened.

    Raises:
        InputError: it is no ordinary file.
        OSError: it is missing or cannot be read.
    """
    whole = hashlib.sha256()
    with open_file(path) as stream:
        left = os.fstat(stream.fileno()).st_size
        while left > 0 and (part := stream.read(min(left, MIB))):
            whole.update(part)
            left -= len(part)
    return whole


def read_json(path: Path) -> Any:
    """Read JSON that another stage, or somebody else's project, wrote.

    Raises:
        InputError: it is missing, damaged, no ordinary file, longer than MOST_JSON, or no JSON as `parse_json` takes it.
    """
    try:
        return parse_json(read_text(Path(path), MOST_JSON))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: missing or damaged; run `dvc repro` to make it") from error


def parse_json(text: str) -> Any:
    """Parse a JSON text strictly, so that its values are safe to use further on.

    Raises:
        ValueError: it is no JSON, holds NaN, infinity or a number beyond the floats, a number of more than MOST_DIGITS digits, a key twice
            in one mapping, half of a surrogate pair, or is nested deeper than MOST_DEPTH.
        RecursionError: it is nested deeper than the interpreter can follow.
    """
    value = json.loads(text, parse_int=_whole, parse_float=_real, parse_constant=_no_number, object_pairs_hook=_mapping)
    level = [value]
    for _ in range(MOST_DEPTH):
        for item in level:
            if isinstance(item, str):
                item.encode("utf-8")  # UnicodeEncodeError, a ValueError, for half of a surrogate pair
        outer = [item for item in level if isinstance(item, (dict, list))]
        level = [inner for item in outer for inner in (item.values() if isinstance(item, dict) else item)]
        if not level:
            return value
    raise ValueError("nested too deep")


def read_rows(path: Path, *, most: int = MOST_ROWS, most_bytes: int = MOST_TABLE) -> tuple[list[str], list[dict[str, str]]]:
    """Read a CSV table that this project wrote; gives its columns and rows.

    Raises:
        InputError: it is no ordinary file, or larger than the limits.
        OSError, ValueError: it cannot be read, is no UTF-8, or has rows of other lengths than its heading.
    """
    try:
        reader = csv.DictReader(io.StringIO(read_text(path, most_bytes), newline=""), strict=True)
        columns = list(reader.fieldnames or ())
        if len(columns) > MOST_COLUMNS:
            raise InputError(f"{path}: has {len(columns):,} columns, more than {MOST_COLUMNS:,}; look at what it is")
        rows = list(islice(reader, most + 1))
    except csv.Error as error:
        raise ValueError(str(error)) from error
    if len(rows) > most:
        raise InputError(f"{path}: has more than {most:,} rows; look at what it is")
    if any(None in row or None in row.values() for row in rows):
        raise ValueError("a row of another length")
    return columns, rows


def _whole(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise ValueError("a number of too many digits")
    return int(digits)


def _real(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("a number beyond the floats")
    return number


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def _mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        raise ValueError("a key stands twice")
    for key in mapping:
        key.encode("utf-8")
    return mapping
