"""A folder of NIfTI files that is no BIDS: which scan, vessel label and brain mask belong together, by names or by a table.

A pattern is a file's name with wildcards, its ending left out: `*` and `?` stay within a name, `**/` stands for any folders, capital
letters do not count, .nii and .nii.gz are the same. A pattern without a slash looks in every folder. What the wildcards of two patterns
stand for, and for a pattern without a slash the folder too, tells which files are one patient's; so does the scan's whole name.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from angiosynth.errors import InputError

COLUMNS = ("scan", "vessels", "brain")
OTHER_FORMATS = {
    ".dcm": "DICOM",
    ".ima": "DICOM",
    ".hdr": "Analyze or split NIfTI",
    ".mha": "MetaImage",
    ".nrrd": "NRRD",
    ".mgz": "FreeSurfer",
}
ENDING = re.compile(r"\.nii(\.gz)?$", re.IGNORECASE)
WILDCARDS = re.compile(r"\*\*/|\*|\?")

Key: TypeAlias = tuple[str, ...]


@dataclass(frozen=True)
class Sources:
    """One patient's files in the lab's folder. `name` is the scan's path below that folder."""

    name: str
    scan: Path
    vessels: Path | None = None
    brain: Path | None = None


def pair_by_patterns(folder: Path, scan: str, vessels: str = "", brain: str = "") -> tuple[list[Sources], list[str]]:
    """Files below `folder` by their names, sorted by the scan's; a file that `vessels` or `brain` names is no scan.

    Returns:
        What belongs together, and the faults, one line each: no scan, two files for one place, a label or mask without its scan.

    Raises:
        InputError: no such folder, or no NIfTI file in it.
    """
    files = _nifti_files(folder)
    found = {"vessels": _matches(folder, files, vessels), "brain": _matches(folder, files, brain)}
    taken = {path for matches in found.values() for paths in matches.values() for path in paths}
    scans = _matches(folder, [path for path in files if path not in taken], scan)
    if not scans:
        some = ", ".join(path.relative_to(folder).as_posix() for path in files[:3])
        return [], [f"{folder}: no file is named as --scan {scan!r} says; there are {len(files)} NIfTI files, such as {some}"]
    faults = []
    paired: list[Sources] = []
    for key, paths in scans.items():
        here = {"scan": paths, **{kind: _of_scan(matches, key, paths[0].relative_to(folder), scans) for kind, matches in found.items()}}
        for kind, several in here.items():
            if len(several) > 1:
                names = ", ".join(path.relative_to(folder).as_posix() for path in several)
                faults.append(
                    f"{folder}: {len(several)} files as {kind} of one patient ({names}); narrow --{kind} or remove what is not meant"
                )
        if all(len(several) <= 1 for several in here.values()):
            first = {kind: several[0] if several else None for kind, several in here.items()}
            paired.append(Sources(paths[0].relative_to(folder).as_posix(), paths[0], first["vessels"], first["brain"]))
    for kind, matches in found.items():
        for path in (path for paths in matches.values() for path in paths):
            faults.append(f"{path}: --{kind} names it, but no scan by --scan {scan!r} belongs to it; mend the patterns or remove it")
    return sorted(paired, key=lambda sources: sources.name), faults


def pair_by_table(folder: Path, table: Path) -> tuple[list[Sources], list[str]]:
    """Files by a table: CSV with the columns scan, vessels, brain, paths below `folder`, a cell empty where there is no file.

    Returns:
        As `pair_by_patterns`; faults are files that are missing, outside the folder or named twice.

    Raises:
        InputError: no such folder or table, or the table lacks its columns.
    """
    _nifti_files(folder)
    try:
        with table.open(newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{table}: cannot be read as a CSV table; give one with the columns {', '.join(COLUMNS)}") from error
    if not rows or not {"scan"} <= rows[0].keys() <= {None, *COLUMNS}:
        raise InputError(f"{table}: needs the columns {', '.join(COLUMNS)}, separated by commas, and a line for each patient")
    faults: list[str] = []
    paired: list[Sources] = []
    seen: dict[Path, int] = {}
    for number, row in enumerate(rows, start=2):
        files: dict[str, Path] = {}
        for column in COLUMNS:
            cell = (row.get(column) or "").strip()
            path = folder / cell
            if not cell and column != "scan":
                continue
            if not cell or not path.resolve().is_relative_to(folder.resolve()) or not path.is_file():
                faults.append(f"{table}: line {number}: {column} {cell!r} is no file in {folder}")
            elif seen.setdefault(path.resolve(), number) != number:
                faults.append(f"{table}: line {number}: {cell} is named in line {seen[path.resolve()]} already")
            else:
                files[column] = path
        if "scan" in files:
            name = files["scan"].relative_to(folder).as_posix()
            paired.append(Sources(name, files["scan"], files.get("vessels"), files.get("brain")))
    return sorted(paired, key=lambda sources: sources.name), faults


def _nifti_files(folder: Path) -> list[Path]:
    """All below a folder, hidden ones left out: they are some system's own notes."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; name the one that holds the scans")
    below = [path for path in _walk(folder) if path.is_file()]
    files = [path for path in below if ENDING.search(path.name)]
    if not files:
        other = next((OTHER_FORMATS[path.suffix.lower()] for path in below if path.suffix.lower() in OTHER_FORMATS), "")
        advice = f"there is {other}: convert it first, DICOM with dcm2niix" if other else "scans are files .nii or .nii.gz"
        raise InputError(f"{folder}: no NIfTI file in it; {advice}")
    return files


def _walk(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir() and not path.is_symlink():  # a linked folder could lead in a circle
            yield from _walk(path)
        else:
            yield path


def _matches(folder: Path, files: list[Path], pattern: str) -> dict[Key, list[Path]]:
    """What the wildcards stand for -> the files."""
    found: dict[Key, list[Path]] = {}
    if not pattern:
        return found
    compiled = _compiled(pattern if "/" in pattern else f"**/{pattern}")
    for path in files:
        name = ENDING.sub("", path.relative_to(folder).as_posix())
        match = compiled.fullmatch(name)
        if match:
            found.setdefault(tuple((text or "").lower() for text in match.groups()), []).append(path)
    return found


def _of_scan(matches: dict[Key, list[Path]], key: Key, scan: Path, scans: dict[Key, list[Path]]) -> list[Path]:
    """The files whose wildcards stand for what the scan's do, or for the scan's whole name (scan* with *_vessels), taken out."""
    name = ENDING.sub("", scan.name).lower()
    place = scan.parent.as_posix().lower() + "/" if scan.parent.parts else ""
    for wanted in (key, *(other for other in ((place, name), (name,)) if other not in scans)):
        if wanted in matches:
            return matches.pop(wanted)
    return []


def _compiled(pattern: str) -> re.Pattern[str]:
    regex, end = "", 0
    bare = ENDING.sub("", pattern.removeprefix("./"))
    for match in WILDCARDS.finditer(bare):
        regex += re.escape(bare[end : match.start()]) + {"**/": "((?:.*/)?)", "*": "([^/]*)", "?": "([^/])"}[match.group()]
        end = match.end()
    return re.compile(regex + re.escape(bare[end:]), re.IGNORECASE)
