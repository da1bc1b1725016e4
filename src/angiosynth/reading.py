"""Bounded reading of untrusted files: regular files only, and at most a given number of bytes.

Scans, packages, models, tables and settings may come from strangers. Reading a pipe may block for ever, a device has no end, and a file may
grow while it is read. A path is therefore checked before it is opened, opened without blocking, checked again, and read up to a limit.
tests/security/test_one_way_to_open.py verifies that no module opens files in another way.
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
MOST_TEXT = 4 * MIB  # settings, lists of checksums, pages; the longest text that this project writes has a quarter of a MiB
# Parsed JSON takes up to 25 times its length in memory (empty lists): 100 MB. A description of 10,000 imported patients has 3.5 MiB.
MOST_JSON = 4 * MIB
MOST_DEPTH = 32  # nesting of JSON; this project writes at most 7
MOST_DIGITS = 40  # digits of a number; a 64-bit integer has 20, a float in full precision 17
MOST_TABLE = 8 * MIB
MOST_ROWS, MOST_COLUMNS = 100_000, 1_000  # of a table: patients times seeds, or logged steps of a training
MOST_PICTURE = 64 * MIB
# Binary, closed in child processes, non-blocking, never a controlling terminal, as far as the system has these flags. Windows has only the
# first.
READ_ONLY = os.O_RDONLY
for _flag in ("O_BINARY", "O_CLOEXEC", "O_NONBLOCK", "O_NOCTTY"):
    READ_ONLY |= getattr(os, _flag, 0)
KINDS = ((stat.S_ISDIR, "folder"), (stat.S_ISFIFO, "pipe"), (stat.S_ISSOCK, "socket"))


def open_file(path: Path) -> BinaryIO:
    """Open a regular file for reading without blocking. Links are followed.

    Raises:
        InputError: the path is a folder, a device, a socket or a pipe.
        OSError: the file is missing or cannot be read.
    """
    refuse_other_kinds(path, os.stat(path).st_mode)  # first, since opening a device may have side effects
    handle = os.open(path, READ_ONLY)
    try:
        refuse_other_kinds(path, os.fstat(handle).st_mode)  # the path may have been replaced in between
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def refuse_other_kinds(path: Path, mode: int) -> None:
    """Check that a file mode is that of a regular file.

    Raises:
        InputError: it is the mode of a folder, a pipe, a socket or a device.
    """
    if not stat.S_ISREG(mode):
        kind = next((name for is_kind, name in KINDS if is_kind(mode)), "device")
        raise InputError(f"{path}: is a {kind}, a file is needed; name one")


def resolved(path: Path) -> Path:
    """Return the absolute path with links resolved. Circular links are kept unresolved, where `Path.resolve` raises RuntimeError."""
    return Path(os.path.realpath(path))


def read_bytes(path: Path, most: int) -> bytes:
    """Read the bytes of a file.

    Raises:
        InputError: it is not a regular file, or longer than `most` bytes.
        OSError: it is missing or cannot be read.
    """
    with open_file(path) as stream:
        length = os.fstat(stream.fileno()).st_size
        data = stream.read(length + 1) if length <= most else b""
        while length < len(data) <= most and (more := stream.read(MIB)):  # the file grew, or lies in /proc, where lengths are 0
            data += more
    if length > most or len(data) > most:
        raise InputError(f"{path}: has {max(length, len(data)):,} bytes, more than the {most:,} that it may have; look at what it is")
    return data


def read_text(path: Path, most: int = MOST_TEXT) -> str:
    """Read a UTF-8 text file without converting line ends.

    Raises:
        InputError: it is not a regular file, or longer than `most` bytes.
        OSError, UnicodeDecodeError: it is missing, cannot be read, or is not UTF-8.
    """
    return read_bytes(path, most).decode("utf-8")


def file_digest(path: Path) -> Any:
    """SHA-256 of a file as a `hashlib` object. Bytes beyond the file's length at opening are not read.

    Raises:
        InputError: it is not a regular file.
        OSError: it is missing or cannot be read.
    """
    digest = hashlib.sha256()
    with open_file(path) as stream:
        remaining = os.fstat(stream.fileno()).st_size
        while remaining > 0 and (block := stream.read(min(remaining, MIB))):
            digest.update(block)
            remaining -= len(block)
    return digest


def read_json(path: Path) -> Any:
    """Read a JSON file written by another stage or another project.

    Raises:
        InputError: it is missing, damaged, not a regular file, longer than MOST_JSON, or refused by `parse_json`.
    """
    try:
        return parse_json(read_text(Path(path), MOST_JSON))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: missing or damaged; run `dvc repro` to make it") from error


def parse_json(text: str) -> Any:
    """Parse JSON strictly, so that its values are safe for further use.

    Raises:
        ValueError: it is not JSON; it contains NaN, infinity, a number beyond the range of floats or of more than MOST_DIGITS digits, a
            duplicate key in a mapping or an unpaired surrogate; or it is nested deeper than MOST_DEPTH.
        RecursionError: it is nested deeper than the interpreter can follow.
    """
    value = json.loads(text, parse_int=_whole, parse_float=_real, parse_constant=_no_number, object_pairs_hook=_mapping)
    level = [value]
    for _ in range(MOST_DEPTH):
        for item in level:
            if isinstance(item, str):
                item.encode("utf-8")  # raises UnicodeEncodeError, a ValueError, for an unpaired surrogate
        outer = [item for item in level if isinstance(item, (dict, list))]
        level = [inner for item in outer for inner in (item.values() if isinstance(item, dict) else item)]
        if not level:
            return value
    raise ValueError("nested too deep")


def read_rows(path: Path, *, most: int = MOST_ROWS, most_bytes: int = MOST_TABLE) -> tuple[list[str], list[dict[str, str]]]:
    """Read a CSV table that this project wrote and return its columns and rows.

    Raises:
        InputError: it is not a regular file, or exceeds the limits.
        OSError, ValueError: it cannot be read, is not UTF-8, or a row differs in length from the heading.
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
