"""The folder that an import writes: check that it may be replaced, and that no file in it was added or changed since."""

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
CHECKSUMS = "Checksums"  # in the description: each file's SHA-256
KEYS = {"Name", "BIDSVersion", "DatasetType", "GeneratedBy", CHECKSUMS}
IMPORTED = re.compile(rf"(sub-[^/]+)/anat/\1({'|'.join(map(re.escape, (SCAN, BRAIN, LABEL)))})\.nii\.gz")
OF_THE_SYSTEM = re.compile(r"\.DS_Store|\._.*|Thumbs\.db|desktop\.ini")
NAMES_SHOWN = 4


def refuse_places(target: Path, names: Path, sources: Iterable[Path]) -> None:
    """Check that `target` may be replaced without loss of a user's files.

    Args:
        target: a new folder, an empty one, or one that an import has made and nobody has added to or changed.
        names: the table of names and numbers; outside of `target`.
        sources: the files to import; outside of `target` too.

    Raises:
        InputError: it may not.
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
    """Check that an imported folder holds its imported files alone, unchanged: others would be lost when it is replaced.

    Raises:
        InputError: names the first files that are not.
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
    """Files and links. A folder that cannot be read is an error: files in it would be lost."""

    def unreadable(error: OSError) -> None:
        raise InputError(f"{error.filename}: cannot be read ({error.strerror}), so files in it could be lost; mend its permissions")

    for place, folders, files in os.walk(folder, onerror=unreadable):
        links = [name for name in folders if (Path(place) / name).is_symlink()]
        yield from (Path(place) / name for name in (*files, *links))


def describe(folder: Path, name: str) -> None:
    """Write the BIDS description of a folder that is otherwise complete, with the checksums of its files."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    sums = {path.relative_to(folder).as_posix(): _digest(path) for path in progress(files, "checksums", len(files))}
    made = {"Name": name, "BIDSVersion": "1.10.0", "DatasetType": "raw", "GeneratedBy": [{"Name": MADE_BY}], CHECKSUMS: sums}
    write_json(folder / DESCRIPTION, made)


def is_imported(target: Path) -> bool:
    """Whether an import has made this folder. InputError where its description is damaged."""
    if not (target / DESCRIPTION).is_file():
        return False
    try:
        described = read_json(target / DESCRIPTION)
    except InputError as error:
        raise InputError(f"{target / DESCRIPTION}: damaged, so it is unknown who made this folder; name another folder with -o") from error
    return isinstance(described, dict) and described.get("GeneratedBy") == [{"Name": MADE_BY}]


def _is_as_made(path: Path, name: str, made: Any) -> bool:
    if path.is_symlink() and not path.exists():  # a link into DVC's cache without its content: nothing can be lost
        return True
    if not isinstance(made, dict):  # an import before there were checksums
        return IMPORTED.fullmatch(name) is not None
    return name in made and path.is_file() and made[name] == _digest(path)


def _digest(path: Path) -> str:
    return str(file_digest(path).hexdigest())
