"""List the files below a folder once each, following links."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from angiosynth.reading import resolved

NIFTI = re.compile(r"\.nii(\.gz)?$", re.IGNORECASE)
NAMES_SHOWN = 20
STORES = (".git", ".dvc")  # folders of a repository that contain the targets of links


def files_below(folder: Path, *, within: bool = False) -> Iterator[Path]:
    """Yield files and broken links, sorted by folder; hidden ones are skipped.

    A folder that can be reached by several paths, for example through a link, is listed once, by the path without links.

    Args:
        folder: the root.
        within: do not follow links to folders outside `folder`; yield such a link like a file.
    """
    real = resolved(folder)
    yield from _files_below(folder, {real}, real if within else None)


def leads_outside(path: Path, folder: Path) -> bool:
    """Return whether a path below a folder resolves, through links at any level, to a location outside it.

    Targets in the git-annex or DVC store of a repository that contains the folder count as inside.
    """
    real, root = resolved(path), resolved(folder)
    if real.is_relative_to(root):
        return False
    in_store = any(real.is_relative_to(above / store) for above in root.parents for store in STORES)
    return not (in_store and resolved(path.parent).is_relative_to(root))


def _files_below(folder: Path, visited: set[Path], root: Path | None) -> Iterator[Path]:
    entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    folders = [path for path in entries if path.is_dir() and (root is None or resolved(path).is_relative_to(root))]
    for path in entries:
        if path not in folders:
            yield path
    for path in sorted(folders, key=lambda path: (path.is_symlink(), path)):
        real = resolved(path)
        if real not in visited:
            visited.add(real)
            yield from _files_below(path, visited, root)


def some_of(paths: Iterable[Path], folder: Path) -> str:
    """List the first paths relative to a folder: "a.nii, b/c.nii and 3 more"."""
    names = [path.relative_to(folder).as_posix() for path in paths]
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more
