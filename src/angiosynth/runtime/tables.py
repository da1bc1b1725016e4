"""Tables that spreadsheets open: every CSV and TSV file is written here, so that no cell of it is run as a formula."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from typing import TextIO

# Texts that a spreadsheet runs begin with one of these signs, also full-width ones and after spaces; a tab or a line end at the beginning
# moves the rest into a separate cell.
FORMULA = re.compile(r"[\s'\u200b\ufeff]*[=+\-@\uff1d\uff0b\uff0d\uff20]|'*[\t\r\n]")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def write_table(
    stream: TextIO, columns: Sequence[str], rows: Iterable[Sequence[object]], delimiter: str = ",", line_end: str = "\n"
) -> None:
    """Write a heading and rows; numbers stay as they are, of texts those that would be formulas are marked as texts.

    Args:
        stream: opened with newline="".
        columns: the heading.
        rows: as many cells each.
        delimiter: a comma, or a tab for TSV.
        line_end: after each row; in a cell every kind of line end is put in quotes.
    """
    writer = csv.writer(_Lines(stream, line_end), delimiter=delimiter)
    writer.writerow([safe_cell(name) for name in columns])
    writer.writerows([safe_cell(cell) for cell in row] for row in rows)


class _Lines:
    """A stream for csv.writer, which quotes only the line ends that it writes itself: a lone carriage return would end a row."""

    def __init__(self, stream: TextIO, end: str) -> None:
        self.stream, self.end = stream, end

    def write(self, line: str) -> int:
        return self.stream.write(line.removesuffix("\r\n") + self.end)


def safe_cell(cell: object) -> object:
    """The cell, a text that would be a formula behind an apostrophe, as spreadsheets mark a text."""
    return f"'{cell}" if isinstance(cell, str) and FORMULA.match(cell) and not NUMBER.fullmatch(cell) else cell


def plain_cell(text: str) -> str:
    """The inverse of `safe_cell`: the text of a table's cell."""
    return text[1:] if text.startswith("'") and FORMULA.match(text) else text
