"""Restrict files with patient data to their owner: folders 0700, files 0600 regardless of the umask, no core dumps.

Two measures: processes of this program use umask 077. Files of other programs follow the user's umask; above all DVC makes files in the
working folder 0644 and in its cache 0444. These lie below folders that are closed to other users at the start of every command, and nobody
can reach files through a closed folder.
"""

from __future__ import annotations

import configparser
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

OTHERS = 0o077
CACHE = ".dvc/cache"
# Folders of a project with patient data or models trained on them. All others contain code and settings.
PLACES = (
    *("data", "names", "splits", "models", "predictions", "metrics", "report", "audit", "releases", "sweeps"),
    *("mlruns", "lineage", ".work", "dvc_plots", CACHE, ".dvc/tmp"),
)


def write_for_the_user_alone() -> None:
    """Let this process and its children create files that only their owner can access, and no core dumps.

    In a folder with an access control list new files follow the list instead of the umask, but the folders that this program creates are
    closed. On Windows modes have no effect; the permissions of the project's folder apply.
    """
    os.umask(OTHERS)
    if resource is None:
        return
    most = resource.getrlimit(resource.RLIMIT_CORE)[1]
    # A limit of 1 byte, since with 0 the kernel would still call a program that collects core dumps.
    resource.setrlimit(resource.RLIMIT_CORE, (1 if most == resource.RLIM_INFINITY else min(1, most), most))


def close_places(root: Path) -> None:
    """Remove all permissions of other users from the project folders with patient data, and from everything below those that were open.

    DVC's cache is created if it is missing, because DVC would create it open. Folders of other users, or that cannot be changed, are left
    alone; `doctor` reports them. Does nothing outside a project.
    """
    if not (root / "dvc.yaml").is_file():
        return
    if (root / ".dvc").is_dir() and not (root / CACHE).exists() and not any(section == "cache" for section, _, _ in _dvc_settings(root)):
        with suppress(OSError):
            (root / CACHE).mkdir(mode=0o700)
    for name in PLACES:
        place = root / name
        with suppress(OSError):
            if _may_close(place.stat()):
                _close(place, deep=name != CACHE)  # DVC treats cache files with another mode than 0444 as changed


def open_places(places: Iterable[Path]) -> Iterator[Path]:
    """Yield the files and folders that other users can access: their mode is open, and so are those of all parent folders."""
    for place in places:
        with suppress(OSError):
            folder = place.resolve(strict=True)
            if folder.stat().st_mode & 0o055 and all(parent.stat().st_mode & 0o011 for parent in folder.parents):
                yield place


def kept_by_dvc(root: Path) -> list[Path]:
    """Local folders named in a project's DVC settings: caches other than the default, and remotes."""
    named = [value.removeprefix("file://") for _, _, value in _dvc_settings(root)]
    return [root / ".dvc" / value for value in named if "://" not in value]


def _close(place: Path, *, deep: bool) -> None:
    place.chmod(stat.S_IMODE(place.stat().st_mode) & ~OTHERS)
    for folder, folders, files in os.walk(place) if deep else ():
        for name in (*folders, *files):
            path = Path(folder, name)
            with suppress(OSError):
                now = path.lstat()
                # Modes of links have no effect. A file with several hard links may belong to DVC's cache, or to a user's other folder.
                if not stat.S_ISLNK(now.st_mode) and _may_close(now) and (stat.S_ISDIR(now.st_mode) or now.st_nlink == 1):
                    path.chmod(stat.S_IMODE(now.st_mode) & ~OTHERS)


def _may_close(now: os.stat_result) -> bool:
    return hasattr(os, "geteuid") and bool(now.st_mode & OTHERS) and now.st_uid == os.geteuid()


def _dvc_settings(root: Path) -> Iterator[tuple[str, str, str]]:
    """Section, key and value of those DVC settings of a project that contain a path or URL."""
    for name in ("config", "config.local"):
        settings = configparser.ConfigParser(interpolation=None, strict=False)
        with suppress(configparser.Error, OSError, UnicodeError):
            settings.read(root / ".dvc" / name, encoding="utf-8")
            for section in settings.sections():
                yield from ((section, key, value) for key, value in settings[section].items() if value and key in ("dir", "url"))
