"""What lies below a folder, links followed, so that nothing in it vanishes without a word."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from angiosynth.reading import resolved

NIFTI = re.compile(r"\.nii(\.gz)?$", re.IGNORECASE)
NAMES_SHOWN = 20


def files_below(folder: Path) -> Iterator[Path]:
    """Files and links that lead nowhere, sorted by folder; hidden ones are some system's own notes and left out.

    A folder that is reached by several ways, as by a link beside it or in a circle, is looked into once, by the way without a link.
    """
    yield from _files_below(folder, {resolved(folder)})


def _files_below(folder: Path, visited: set[Path]) -> Iterator[Path]:
    entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    folders = [path for path in entries if path.is_dir()]
    for path in entries:
        if path not in folders:
            yield path
    for path in sorted(folders, key=lambda path: (path.is_symlink(), path)):
        real = resolved(path)
        if real not in visited:
            visited.add(real)
            yield from _files_below(path, visited)


def some_of(paths: Iterable[Path], folder: Path) -> str:
    """The first names as seen from a folder: "a.nii, b/c.nii and 3 more"."""
    names = [path.relative_to(folder).as_posix() for path in paths]
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more
