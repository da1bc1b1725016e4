"""Write and verify SHA256SUMS of a folder, in the format of `sha256sum`."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path, PurePosixPath

from angiosynth.errors import InputError
from angiosynth.reading import file_digest, read_text, refuse_other_kinds
from angiosynth.release.formats import Format
from angiosynth.release.signature import SIGNATURE, SUMS, verify_signature
from angiosynth.runtime.progress import progress

MOST_FILES, MOST_BYTES = 10_000, 8 << 30  # of a package; a package of the paper's set has 25 files and 1 GB
FORMATS = {SUMS: Format("text/plain", text=True)}
LINE = re.compile(r"([0-9a-f]{64})  (\S.{,254})")  # file names are limited for messages


def write_checksums(folder: Path) -> None:
    """Write SHA256SUMS with all files of the folder except SHA256SUMS and its signature."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in {SUMS, SIGNATURE})
    lines = [f"{file_digest(path).hexdigest()}  {path.relative_to(folder).as_posix()}\n" for path in files]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")


def verify(folder: Path, trusted: Path | None) -> str:
    """Verify the checksums of a package, and its signature if it has one.

    Args:
        folder: folder of the package.
        trusted: public key of the signer, obtained from the signer and not from the package. Without it a signature only shows that all
            files belong together, not who signed.

    Returns:
        A message that states the passed checks.

    Raises:
        InputError: a file is missing, modified or not listed, or the signature is invalid or, with `trusted`, missing.
    """
    listed = _listed(folder)
    present = _files_of(folder)
    for name in listed:
        if name not in present:
            raise InputError(f"{folder / name}: is missing, but {SUMS} lists it; get the package again")
    if strays := sorted(present - set(listed) - {SUMS, SIGNATURE}):
        raise InputError(f"{folder / strays[0]}: is not in {SUMS}; take it out or get the package again")
    for name, digest in progress(listed.items(), f"checking {folder.name}", len(listed)):
        if file_digest(folder / name).hexdigest() != digest:
            raise InputError(f"{folder / name}: differs from its digest in {SUMS}; it was damaged or changed, get the package again")
    return f"{len(listed)} files agree with {SUMS}, {verify_signature(folder, trusted)}"


def _files_of(folder: Path) -> set[str]:
    """Names of the files of a package, listed before any of them is opened.

    Raises:
        InputError: a file is a link, a pipe or a device, there are more than MOST_FILES, or their total size exceeds MOST_BYTES.
    """
    names: set[str] = set()
    total = 0
    for place, folders, files in os.walk(folder, onerror=_unreadable):
        for name in (*files, *folders):
            path = Path(place) / name
            status = path.lstat()
            if stat.S_ISDIR(status.st_mode):
                continue
            if stat.S_ISLNK(status.st_mode):
                raise InputError(f"{path}: is a link, and a package holds its files themselves; get the package again")
            refuse_other_kinds(path, status.st_mode)
            names.add(path.relative_to(folder).as_posix())
            total += status.st_size
            if len(names) > MOST_FILES or total > MOST_BYTES:
                raise InputError(f"{folder}: has more than {MOST_FILES:,} files or {MOST_BYTES / 1e9:.0f} GB; get the package again")
    return names


def _unreadable(error: OSError) -> None:
    raise InputError(f"{error.filename}: cannot be read ({error.strerror}); mend its permissions")


def _listed(folder: Path) -> dict[str, str]:
    path = folder / SUMS
    try:
        lines = read_text(path).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read; name the folder of a package that `cli.py release` made") from error
    digests: dict[str, str] = {}
    for line in lines:
        match = LINE.fullmatch(line)
        if match is None or not match[2].isprintable() or PurePosixPath(match[2]).is_absolute() or ".." in PurePosixPath(match[2]).parts:
            raise InputError(f"{path}: a line is no checksum of a file within; get the package again")
        if match[2] in digests:
            raise InputError(f"{path}: lists {match[2]} twice; get the package again")
        digests[match[2]] = match[1]
    return digests
