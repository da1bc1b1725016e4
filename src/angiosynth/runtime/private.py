"""Files that hold patients are for their user alone: folders 0700, files 0600, whatever the umask, and no core dumps.

Two measures. This program's processes write with a umask of 077. Files that other programs write by their user's umask, above all DVC,
which makes its copies in the working folder 0644 and in its cache 0444, lies below folders that are closed at the start of every command:
nobody gets through a closed folder to what is in it.
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
# The folders of a project that hold patients, or models trained on them. All else is code and settings.
PLACES = (
    *("data", "names", "splits", "models", "predictions", "metrics", "report", "audit", "releases", "sweeps"),
    *("mlruns", "lineage", ".work", "dvc_plots", CACHE, ".dvc/tmp"),
)


def write_for_the_user_alone() -> None:
    """From now on this process and those that it starts write files for their user alone, and leave no core file when they crash.

    Where a folder has an access list, new files follow that in place of the umask; the folder that this program has made around
    them is closed all the same. On Windows modes mean nothing: there the rights of the folder that the project lies in hold.
    """
    os.umask(OTHERS)
    if resource is None:
        return
    most = resource.getrlimit(resource.RLIMIT_CORE)[1]
    # 1 byte, not 0: the kernel then calls no program either that systems have to collect core files.
    resource.setrlimit(resource.RLIMIT_CORE, (1 if most == resource.RLIM_INFINITY else min(1, most), most))


def close_places(root: Path) -> None:
    """Take all rights of others from a project's folders that hold patients, and from all below those that were open.

    DVC's cache is made where it is missing, so that DVC does not make it open. Folders of other users, or that cannot be changed, are left:
    `doctor` names it. Outside of a project nothing is done.
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
                _close(place, deep=name != CACHE)  # DVC holds a file of other than 0444 for one that was changed


def open_places(places: Iterable[Path]) -> Iterator[Path]:
    """Those files and folders that another user may look into: open themselves, and no folder above them is closed."""
    for place in places:
        with suppress(OSError):
            folder = place.resolve(strict=True)
            if folder.stat().st_mode & 0o055 and all(parent.stat().st_mode & 0o011 for parent in folder.parents):
                yield place


def kept_by_dvc(root: Path) -> list[Path]:
    """The folders of this disk that a project's DVC settings name: a cache other than the default one, and remotes."""
    named = [value.removeprefix("file://") for _, _, value in _dvc_settings(root)]
    return [root / ".dvc" / value for value in named if "://" not in value]


def _close(place: Path, *, deep: bool) -> None:
    place.chmod(stat.S_IMODE(place.stat().st_mode) & ~OTHERS)
    for folder, folders, files in os.walk(place) if deep else ():
        for name in (*folders, *files):
            path = Path(folder, name)
            with suppress(OSError):
                now = path.lstat()
                # A link's mode means nothing. A file with two names may be one of DVC's cache, or a user's elsewhere.
                if not stat.S_ISLNK(now.st_mode) and _may_close(now) and (stat.S_ISDIR(now.st_mode) or now.st_nlink == 1):
                    path.chmod(stat.S_IMODE(now.st_mode) & ~OTHERS)


def _may_close(now: os.stat_result) -> bool:
    return hasattr(os, "geteuid") and bool(now.st_mode & OTHERS) and now.st_uid == os.geteuid()


def _dvc_settings(root: Path) -> Iterator[tuple[str, str, str]]:
    """Section, key and value of a project's DVC settings that name a place."""
    for name in ("config", "config.local"):
        settings = configparser.ConfigParser(interpolation=None, strict=False)
        with suppress(configparser.Error, OSError, UnicodeError):
            settings.read(root / ".dvc" / name, encoding="utf-8")
            for section in settings.sections():
                yield from ((section, key, value) for key, value in settings[section].items() if value and key in ("dir", "url"))
