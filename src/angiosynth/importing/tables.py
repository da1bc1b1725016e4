"""Read CSV tables written by programs or saved by spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from angiosynth.errors import InputError
from angiosynth.reading import MOST_COLUMNS, MOST_ROWS, MOST_TABLE, read_bytes

DELIMITERS = (",", ";", "\t")


def read_table(path: Path, needed: Sequence[str]) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Read the columns of a CSV table, and its rows with the number of the line in which each ends.

    As written by spreadsheets, a byte order mark, semicolons or tabs instead of commas, spaces and capitals in the heading, and empty rows
    are accepted. Bytes that are not UTF-8 are decoded as in file names (surrogateescape).

    Args:
        path: the table.
        needed: required columns.

    Raises:
        InputError: the table cannot be read, lacks a required column, or a row has more cells than columns.
    """
    try:
        text = read_bytes(path, MOST_TABLE).decode("utf-8-sig", errors="surrogateescape")
        heading = text.partition("\n")[0]
        delimiter = max(DELIMITERS, key=heading.count)
        reader = csv.reader(io.StringIO(text if "\0" not in text else "", newline=""), delimiter=delimiter)
        rows = [(reader.line_num, row) for row in islice(reader, MOST_ROWS + 1) if any(cell.strip() for cell in row)]
    except (OSError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as a CSV table; save it as comma-separated UTF-8") from error
    if len(rows) > MOST_ROWS or max((len(row) for _, row in rows), default=0) > MOST_COLUMNS:
        raise InputError(f"{path}: has more than {MOST_ROWS:,} rows or {MOST_COLUMNS:,} columns; check that it is the right file")
    columns = [name.strip().lower() for name in rows[0][1]] if rows else []
    while columns and not columns[-1]:
        columns.pop()
    if not set(needed) <= set(columns):
        raise InputError(f"{path}: needs the columns {', '.join(needed)} in its first line; save it as comma-separated UTF-8")
    for line, row in rows:
        if any(cell.strip() for cell in row[len(columns) :]):
            raise InputError(f"{path}: line {line} has more cells than the {len(columns)} columns; put a cell that holds commas in quotes")
    return columns, [(line, dict(zip(columns, row, strict=False))) for line, row in rows[1:]]
