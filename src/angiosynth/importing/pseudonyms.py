"""Pseudonyms of imported scans: numbers instead of names, and the table that links them."""

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
    """Assign a number sub-001, sub-002, ... to each scan name: the one in the table `names`, else a random free one.

    Raises:
        InputError: the table is damaged, or has columns that an import does not write.
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
    """Write the table, which only its owner can read. Removed scans keep their line, so that their number is not reused.

    Raises:
        InputError: the table cannot be written.
    """
    files = {sources.name: sources for sources in paired}
    with whole_file(followed(names)) as temporary:
        temporary.chmod(0o600)
        # File names may contain any bytes; those that are not UTF-8 are written unchanged.
        with temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as stream:
            rows = []
            for name, number in sorted(numbers.items(), key=lambda pair: pair[1]):
                others = [getattr(files.get(name), column, None) for column in COLUMNS[1:]]
                rows.append((number, name, *(path.name if path else "" for path in others)))
            write_table(stream, ("patient", *COLUMNS), rows, line_end="\r\n")  # both kinds of line end in a name are quoted


def _renamed(known: Mapping[str, str], scans: Sequence[str]) -> dict[str, str]:
    """Rename entries of the table to the current scan names, whose Unicode form or suffix .gz may have changed."""
    forms = {_form(name): name for name in scans if name not in known}
    return {name if name in scans else forms.get(_form(name), name): number for name, number in known.items()}


def _form(name: str) -> str:
    return unicodedata.normalize("NFC", without_ending(name))
