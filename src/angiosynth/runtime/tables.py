"""Write CSV and TSV tables so that spreadsheet programs execute no cell as a formula. All tables are written by this module."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from typing import TextIO

# Formulas begin with one of these signs, which may be full-width or follow spaces. A leading tab or line end moves the rest into a separate
# cell.
FORMULA = re.compile(r"[\s'\u200b\ufeff]*[=+\-@\uff1d\uff0b\uff0d\uff20]|'*[\t\r\n]")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def write_table(
    stream: TextIO, columns: Sequence[str], rows: Iterable[Sequence[object]], delimiter: str = ",", line_end: str = "\n"
) -> None:
    """Write a heading and rows. Texts that would be formulas are escaped by `safe_cell`; numbers are unchanged.

    Args:
        stream: text stream opened with newline="".
        columns: the heading.
        rows: cells of each row, as many as columns.
        delimiter: a comma, or a tab for TSV.
        line_end: end of each row. Cells with line ends of any kind are quoted.
    """
    writer = csv.writer(_Lines(stream, line_end), delimiter=delimiter)
    writer.writerow([safe_cell(name) for name in columns])
    writer.writerows([safe_cell(cell) for cell in row] for row in rows)


class _Lines:
    """Stream for csv.writer with another line end. csv.writer must use its default, since it quotes only characters of its line end."""

    def __init__(self, stream: TextIO, end: str) -> None:
        self.stream, self.end = stream, end

    def write(self, line: str) -> int:
        return self.stream.write(line.removesuffix("\r\n") + self.end)


def safe_cell(cell: object) -> object:
    """Prefix a text that would be a formula with an apostrophe, with which spreadsheets mark texts; other cells are unchanged."""
    return f"'{cell}" if isinstance(cell, str) and FORMULA.match(cell) and not NUMBER.fullmatch(cell) else cell


def plain_cell(text: str) -> str:
    """Invert `safe_cell`."""
    return text[1:] if text.startswith("'") and FORMULA.match(text) else text
