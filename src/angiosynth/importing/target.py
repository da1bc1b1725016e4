"""Output folder of an import: check that it may be replaced, and that no file in it was added or changed since the last import."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from angiosynth.data.bids import BRAIN, LABEL, SCAN
from angiosynth.errors import InputError
from angiosynth.reading import file_digest, resolved
from angiosynth.runtime.output import read_json, write_json
from angiosynth.runtime.progress import progress

MADE_BY = "angiosynth import"
DESCRIPTION = "dataset_description.json"
CHECKSUMS = "Checksums"  # key of the description: SHA-256 of each file
KEYS = {"Name", "BIDSVersion", "DatasetType", "GeneratedBy", CHECKSUMS}
IMPORTED = re.compile(rf"(sub-[^/]+)/anat/\1({'|'.join(map(re.escape, (SCAN, BRAIN, LABEL)))})\.nii\.gz")
OF_THE_SYSTEM = re.compile(r"\.DS_Store|\._.*|Thumbs\.db|desktop\.ini")
NAMES_SHOWN = 4


def refuse_places(target: Path, names: Path, sources: Iterable[Path]) -> None:
    """Check that `target` can be replaced without losing files of the user.

    Args:
        target: a new or empty folder, or an unchanged folder of an earlier import.
        names: table of names and numbers, outside `target`.
        sources: files to import, outside `target`.

    Raises:
        InputError: a condition is not met.
    """
    root = resolved(target)
    if any(resolved(path).is_relative_to(root) for path in sources):
        raise InputError(f"{target}: holds the files that are to be imported; name another folder with -o")
    if resolved(names).is_relative_to(root):
        raise InputError(f"{names}: would lie among the scans; keep the names elsewhere, --names FILE")
    if names.is_dir():
        raise InputError(f"{names}: is a folder; name a file with --names")
    if names.exists() and not names.is_file():
        raise InputError(f"{names}: is no ordinary file; name one with --names")
    if target.exists() and (not target.is_dir() or (any(target.iterdir()) and not is_imported(target))):
        raise InputError(f"{target}: is there already and no import has made it; name another folder with -o")
    refuse_users_files(target)


def refuse_users_files(target: Path) -> None:
    """Check that an imported folder contains only unchanged imported files; others would be lost when it is replaced.

    Raises:
        InputError: there are other or changed files; the message names the first ones.
    """
    if not is_imported(target):
        return
    described: dict[str, Any] = read_json(target / DESCRIPTION)
    made = described.get(CHECKSUMS)
    files = sorted(_all_below(target))
    others = [DESCRIPTION] if set(described) - KEYS else []
    for path in progress(files, f"looking at {target}", len(files)):
        name = path.relative_to(target).as_posix()
        if name != DESCRIPTION and not OF_THE_SYSTEM.fullmatch(path.name) and not _is_as_made(path, name, made):
            others.append(name)
    if others:
        more = f" and {len(others) - NAMES_SHOWN} more" if len(others) > NAMES_SHOWN else ""
        raise InputError(
            f"{target}: importing again would remove what no import has made, or what was changed since: "
            f"{', '.join(others[:NAMES_SHOWN])}{more}; move that out of the folder, then import again"
        )


def _all_below(folder: Path) -> Iterator[Path]:
    """Yield files and links. A folder that cannot be read is an error, because files in it would be lost."""

    def unreadable(error: OSError) -> None:
        raise InputError(f"{error.filename}: cannot be read ({error.strerror}), so files in it could be lost; mend its permissions")

    for place, folders, files in os.walk(folder, onerror=unreadable):
        links = [name for name in folders if (Path(place) / name).is_symlink()]
        yield from (Path(place) / name for name in (*files, *links))


def describe(folder: Path, name: str) -> None:
    """Write the BIDS description of an otherwise complete folder, with the checksums of its files."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    sums = {path.relative_to(folder).as_posix(): _digest(path) for path in progress(files, "checksums", len(files))}
    made = {"Name": name, "BIDSVersion": "1.10.0", "DatasetType": "raw", "GeneratedBy": [{"Name": MADE_BY}], CHECKSUMS: sums}
    write_json(folder / DESCRIPTION, made)


def is_imported(target: Path) -> bool:
    """Return whether this folder was made by an import. Raises InputError if its description is damaged."""
    if not (target / DESCRIPTION).is_file():
        return False
    try:
        described = read_json(target / DESCRIPTION)
    except InputError as error:
        raise InputError(f"{target / DESCRIPTION}: damaged, so it is unknown who made this folder; name another folder with -o") from error
    return isinstance(described, dict) and described.get("GeneratedBy") == [{"Name": MADE_BY}]


def _is_as_made(path: Path, name: str, made: Any) -> bool:
    if path.is_symlink() and not path.exists():  # a link into DVC's cache whose content is missing; nothing can be lost
        return True
    if not isinstance(made, dict):  # imports of earlier versions have no checksums
        return IMPORTED.fullmatch(name) is not None
    return name in made and path.is_file() and made[name] == _digest(path)


def _digest(path: Path) -> str:
    return str(file_digest(path).hexdigest())
