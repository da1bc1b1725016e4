"""Check patients' data on this disk for doctor: folders open to other users, and leftovers of killed runs."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from angiosynth.errors import InputError
from angiosynth.runtime.leftovers import abandoned
from angiosynth.runtime.private import PLACES, kept_by_dvc, open_places
from angiosynth.settings import load_settings
from angiosynth.tracking.opening import tracking_uri
from angiosynth.verbs.check_result import CheckResult


def open_to_others(root: Path) -> Iterator[CheckResult]:
    """Report each folder that holds patients' data and that another user of this machine can read.

    Checked are the project's folders, the folders of the scans, DVC's cache and its remotes on this disk, and MLflow's files.
    """
    places = [*(root / name for name in PLACES), *_scans(root), *kept_by_dvc(root), *_recorded(root)]
    opened = {place.resolve(): place for place in open_places(places)}
    for place in (place for whole, place in opened.items() if not opened.keys() & set(whole.parents)):
        cure = f"`chmod go-rwx {shlex.quote(str(place))}`"
        with suppress(OSError):
            if hasattr(os, "geteuid") and place.stat().st_uid != os.geteuid():
                cure = f"it is {_owner(place)}'s, who closes it by {cure}"
        yield CheckResult("open to others", str(place), f"{cure}: it holds patients, or models trained on them")
    if not opened:
        yield CheckResult("patients' folders", "closed to others")


def left_behind(root: Path) -> Iterator[CheckResult]:
    """Report each file or folder left by a killed run."""
    for path in abandoned(root):
        cure = "`python cli.py doctor --fix` removes it, as does any other command as it starts"
        yield CheckResult("killed runs", f"{path.relative_to(root)} was left behind", cure)


def _scans(root: Path) -> Iterator[Path]:
    with suppress(InputError):
        cohort = load_settings(root / "params.yaml").cohort
        yield from (root / site.path for site in cohort.sites.values())


def _recorded(root: Path) -> Iterator[Path]:
    """Yield the folder of MLflow's files and its SQLite database, if the user has set them to places on this disk."""
    named = os.environ.get("MLFLOW_DEFAULT_ARTIFACT_ROOT", "")
    uri = tracking_uri(root)
    if named and "://" not in named:
        yield root / named
    if uri.startswith("sqlite:///"):
        yield root / uri.removeprefix("sqlite:///")


def _owner(place: Path) -> str:
    try:
        return place.owner()
    except KeyError:
        return f"user {place.stat().st_uid}"
