"""Pair scans, vessel labels and brain masks in a folder that is not BIDS, by name patterns or by a table.

A pattern is a file name with wildcards and without suffix: `*` and `?` match within a name, `**/` matches any folders. Case, Unicode form
and file format are ignored. The name of a folder of DICOM slices is that of the folder. A pattern without a slash matches in every folder.
Files belong to one patient if the wildcards of their patterns match the same text (and, without a slash, in the same folder); if the text
of the label or mask is the whole name of the scan; or if it is the beginning of the text of this scan and of no other.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from angiosynth.data.bids import SIDECARS
from angiosynth.data.folders import leads_outside, some_of
from angiosynth.data.formats import CONVERT, foreign_format, without_ending
from angiosynth.errors import InputError
from angiosynth.importing.tables import read_table
from angiosynth.importing.volumes import list_volumes
from angiosynth.reading import resolved

COLUMNS = ("scan", "vessels", "brain")
WILDCARDS = re.compile(r"\*\*/|\*|\?")

Key: TypeAlias = tuple[str, ...]


@dataclass(frozen=True)
class Sources:
    """Files of one patient in the folder of the lab. `name` is the path of the scan relative to this folder."""

    name: str
    scan: Path
    vessels: Path | None = None
    brain: Path | None = None


def pair_by_patterns(folder: Path, scan: str, vessels: str = "", brain: str = "") -> tuple[list[Sources], list[str]]:
    """Pair files below `folder` by name patterns. Files that match `vessels` or `brain` are not scans.

    Returns:
        The files of each patient, sorted by scan, and faults, one line each: a pattern without a match, two files of one kind for a
        patient, a label or mask without a scan, a matching file in an unsupported format, a link that leads outside the folder.

    Raises:
        InputError: the folder does not exist, or contains no volume.
    """
    listing = list_volumes(folder)
    files = listing.volumes
    # Labels and masks first, because a pattern for scans such as '*' also matches their names.
    patterns = {"vessels": vessels, "brain": brain}
    named = {kind: _matches(folder, files, pattern) for kind, pattern in patterns.items()}
    taken = {path for matches in named.values() for paths in matches.values() for path in paths}
    scans = _matches(folder, [path for path in files if path not in taken], scan)
    foreign = _foreign(
        folder, listing.others, {**{kind: (patterns[kind], set(named[kind])) for kind in patterns}, "scan": (scan, set(scans))}
    )
    if not scans:
        return [], [*listing.outside.values()] or [
            f"{folder}: no file is named as --scan {scan!r} says; {_there_are(files, folder)}",
            *foreign,
        ]
    faults = [
        f"{folder}: no file is named as --{kind} {pattern!r} says; {_there_are(files, folder)}"
        for kind, pattern in patterns.items()
        if pattern and not named[kind]
    ]
    faults += listing.outside.values()
    faults += [f"{path}: is a link that leads nowhere, perhaps to a patient's folder; bring it or remove the link" for path in listing.lost]
    # join each scan with the label and the mask of its key, which are removed from `named`
    paired: list[Sources] = []
    for key, paths in scans.items():
        matched = {"scan": paths, **{kind: _of_scan(matches, key, paths[0].relative_to(folder), scans) for kind, matches in named.items()}}
        for kind, several in matched.items():
            if len(several) > 1:
                names = ", ".join(path.relative_to(folder).as_posix() for path in several)
                faults.append(f"{folder}: {len(several)} files as {kind} of one patient ({names}); narrow --{kind} or remove all but one")
        if all(len(several) <= 1 for several in matched.values()):
            first = {kind: several[0] if several else None for kind, several in matched.items()}
            paired.append(Sources(paths[0].relative_to(folder).as_posix(), paths[0], first["vessels"], first["brain"]))
    # the remaining labels and masks have no scan
    for kind, matches in named.items():
        for path in (path for paths in matches.values() for path in paths):
            faults.append(f"{path}: --{kind} names it, but no scan by --scan {scan!r} belongs to it; mend the patterns or remove it")
    return sorted(paired, key=lambda sources: sources.name), faults + foreign


def not_taken(folder: Path, paired: Iterable[Sources]) -> list[Path]:
    """Files and DICOM series below `folder` that belong to no patient, except sidecars."""
    taken = {path for sources in paired for path in (sources.scan, sources.vessels, sources.brain)}
    listing = list_volumes(folder)
    rest = {*listing.volumes, *listing.others} - taken
    return sorted((path for path in rest if path.suffix.lower() not in SIDECARS), key=lambda path: (path.parent, path))


def pair_by_table(folder: Path, table: Path) -> tuple[list[Sources], list[str]]:
    """Pair files by a CSV table with the columns scan, vessels and brain: paths below `folder`, or empty cells.

    Returns:
        As `pair_by_patterns`; faults are files that are missing, outside the folder or listed twice.

    Raises:
        InputError: the folder or table does not exist, or the table has other columns.
    """
    by_name = {_plain(path.relative_to(folder).as_posix()): path for path in list_volumes(folder).volumes}
    columns, rows = read_table(table, COLUMNS[:1])
    if not rows or not set(columns) <= set(COLUMNS):
        raise InputError(f"{table}: needs the columns {', '.join(COLUMNS)}, no others, and a line for each patient")
    faults: list[str] = []
    paired: list[Sources] = []
    seen: dict[Path, int] = {}  # file -> number of the line that lists it
    for number, row in rows:
        files: dict[str, Path] = {}
        for column in COLUMNS:
            cell = row.get(column, "").strip()
            path = by_name.get(_plain(os.path.normpath(cell)) if cell else "", folder / cell)
            if not cell and column != "scan":
                continue
            if not cell or not _inside(path, folder):
                faults.append(f"{table}: line {number}: {column} {cell!r} is no file in {folder}")
            elif seen.setdefault(resolved(path), number) != number:
                faults.append(f"{table}: line {number}: {cell} is named in line {seen[resolved(path)]} already")
            else:
                files[column] = path
        if "scan" in files:
            name = os.path.relpath(files["scan"], folder)
            paired.append(Sources(name, files["scan"], files.get("vessels"), files.get("brain")))
    return sorted(paired, key=lambda sources: sources.name), faults


def _inside(path: Path, folder: Path) -> bool:
    """Whether a file, a folder of slices, or a link lies below the folder. Unreadable files are reported when they are read."""
    exists = path.exists() or (path.is_symlink() and not path.exists())
    return exists and not leads_outside(path, folder)


def _there_are(files: list[Path], folder: Path) -> str:
    return f"there are {len(files)} volumes, such as {some_of(files[:3], folder)}"


def _foreign(folder: Path, files: list[Path], patterns: dict[str, tuple[str, set[Key]]]) -> list[str]:
    """One fault for each file that matches a pattern and has an unsupported format.

    Patterns of wildcards alone, which match everything, are skipped, and so are files with the same name as a volume.

    Args:
        folder: folder of the scans.
        files: files that are not part of a volume.
        patterns: pattern of each kind, with the wildcard texts that it matches among the volumes.
    """
    faults = []
    others = [path for path in files if foreign_format(path.name)]
    for kind, (pattern, known) in patterns.items():
        if not WILDCARDS.sub("", pattern):
            continue
        matches = _matches(folder, others, pattern)
        for path in (path for key, paths in matches.items() if key not in known for path in paths):
            faults.append(f"{path}: --{kind} names it, and it is {foreign_format(path.name)}; {CONVERT}, or narrow --{kind}")
        taken = {path for paths in matches.values() for path in paths}
        others = [path for path in others if path not in taken]
    return faults


def _matches(folder: Path, files: list[Path], pattern: str) -> dict[Key, list[Path]]:
    """Files that match a pattern, by the texts that its wildcards match."""
    matches: dict[Key, list[Path]] = {}
    if not pattern:
        return matches
    bare = pattern.removeprefix("./")
    compiled = _compiled(bare if "/" in bare else f"**/{bare}")
    for path in files:
        match = compiled.fullmatch(_plain(without_ending(path.relative_to(folder).as_posix())))
        if match:
            matches.setdefault(tuple((text or "").lower() for text in match.groups()), []).append(path)
    return matches


def _of_scan(matches: dict[Key, list[Path]], key: Key, scan: Path, scans: dict[Key, list[Path]]) -> list[Path]:
    """Remove and return the matches that belong to a scan: same wildcard text, whole name (scan* with *_vessels), or unique beginning.

    The beginning of a scan's text (*/MRA/* with */label) counts if no other scan begins with it.
    """
    name = _plain(without_ending(scan.name)).lower()
    place = _plain(scan.parent.as_posix()).lower() + "/" if scan.parent.parts else ""
    beginnings = (key[:length] for length in range(len(key) - 1, 0, -1))
    unique = (beginning for beginning in beginnings if sum(other[: len(beginning)] == beginning for other in scans) == 1)
    for candidate in (key, *(other for other in ((place, name), (name,)) if other not in scans), *unique):
        if candidate in matches:
            return matches.pop(candidate)
    return []


def _compiled(pattern: str) -> re.Pattern[str]:
    regex, end = "", 0
    bare = _plain(without_ending(pattern))
    for match in WILDCARDS.finditer(bare):
        regex += re.escape(bare[end : match.start()]) + {"**/": "((?:.*/)?)", "*": "([^/]*)", "?": "([^/])"}[match.group()]
        end = match.end()
    return re.compile(regex + re.escape(bare[end:]), re.IGNORECASE)


def _plain(name: str) -> str:
    """Normalise a name to composed Unicode; systems differ in whether an umlaut is one character or two."""
    return unicodedata.normalize("NFC", name)
