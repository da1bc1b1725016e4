"""Pseudonyms of imported scans: numbers instead of names, and the table that joins them."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

from angiosynth.data.bids import PATIENT_NAME
from angiosynth.data.formats import without_ending
from angiosynth.errors import InputError
from angiosynth.importing.pairing import COLUMNS, Sources
from angiosynth.importing.tables import read_table
from angiosynth.runtime.output import followed, whole_file
from angiosynth.runtime.tables import plain_cell, write_table


def draw_numbers(names: Path, scans: Sequence[str]) -> dict[str, str]:
    """sub-001, sub-002, ... for each scan's name: the one it has in the table `names`, else a free one drawn at random.

    Raises:
        InputError: the table is damaged, or has columns that no import has written.
    """
    known: dict[str, str] = {}
    names = followed(names)
    if names.exists():
        columns, rows = read_table(names, ("patient", "scan")) if names.stat().st_size else ([], [])
        known = {plain_cell(row.get("scan", "")): row.get("patient", "").strip() for _, row in rows}
        if len(known) < len(rows):
            raise InputError(f"{names}: damaged, a scan stands twice; mend it, or move it away to give new numbers")
        if len(set(known.values())) < len(known) or not all(PATIENT_NAME.fullmatch(number or "") for number in known.values()):
            raise InputError(f"{names}: damaged, a number is no patient's or stands twice; move it away to give new numbers")
        if more := sorted(set(columns) - {"patient", *COLUMNS}):
            raise InputError(f"{names}: has further columns that would be lost, {', '.join(more)}; keep them in another file")
    known = _renamed(known, scans)
    new = [name for name in scans if name not in known]
    taken = set(known.values())
    free = [number for number in (f"sub-{index:03d}" for index in range(1, len(known) + len(new) + 1)) if number not in taken][: len(new)]
    random.SystemRandom().shuffle(free)
    return {**known, **dict(zip(new, free, strict=True))}


def write_names(names: Path, paired: Sequence[Sources], numbers: Mapping[str, str]) -> None:
    """Write the table, readable by its owner alone. Scans that are gone keep their line, so that their number is not given again.

    Raises:
        InputError: it cannot be written.
    """
    files = {sources.name: sources for sources in paired}
    with whole_file(followed(names)) as temporary:
        temporary.chmod(0o600)
        # A file's name may be any bytes; those that are no UTF-8 go into the table as they are.
        with temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as stream:
            rows = []
            for name, number in sorted(numbers.items(), key=lambda pair: pair[1]):
                others = [getattr(files.get(name), column, None) for column in COLUMNS[1:]]
                rows.append((number, name, *(path.name if path else "" for path in others)))
            write_table(stream, ("patient", *COLUMNS), rows, line_end="\r\n")  # both kinds of line end in a name are quoted


def _renamed(known: Mapping[str, str], scans: Sequence[str]) -> dict[str, str]:
    """The table under the scans' present names: the Unicode form of a letter or the ending .gz may have changed."""
    forms = {_form(name): name for name in scans if name not in known}
    return {name if name in scans else forms.get(_form(name), name): number for name, number in known.items()}


def _form(name: str) -> str:
    return unicodedata.normalize("NFC", without_ending(name))
