"""Check the installed packages for doctor: against requirements.lock in a clone, against the package's metadata in a project."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from angiosynth.reading import read_text
from angiosynth.verbs.check_result import CheckResult

SHOWN = 4  # faults listed in one line


def packages(root: Path) -> Iterator[CheckResult]:
    """Check that all packages are installed in the versions of requirements.lock or, without a lock, of the package's metadata."""
    lock = root / "requirements.lock"
    if lock.is_file():
        yield _as_locked(read_text(lock))
    elif (root / "dvc.yaml").is_file():  # a project of `angiosynth new`
        yield _as_required()
    else:
        yield CheckResult(
            "packages", "no requirements.lock here", "call it in the project's folder, or make one by `angiosynth new FOLDER`", fault=True
        )


def _as_locked(lock: str) -> CheckResult:
    wanted = dict(re.findall(r"^([A-Za-z0-9._-]+)==([^\s;+]+)", lock, re.MULTILINE))
    missing, other = [], []
    for name, version in wanted.items():
        installed = _version(name).partition("+")[0]
        if not installed:
            missing.append(name)
        elif installed != version:
            other.append(f"{name} {installed} instead of {version}")
    faults = [*(f"{name} is missing" for name in missing), *other]
    count = f"{len(wanted) - len(faults)} of {len(wanted)} as in requirements.lock"
    return CheckResult("packages", count, f"{_shown(faults)}; `make env` installs what the lock names" if faults else "", bool(missing))


def _as_required() -> CheckResult:
    try:
        needs = [Requirement(text) for text in metadata.requires("angiosynth") or ()]
    except metadata.PackageNotFoundError:
        return CheckResult(
            "packages",
            "angiosynth is not installed in this environment",
            "activate the one that it is in, or `pip install PATH`, of its clone or wheel",
            fault=True,
        )
    needs = [need for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})]
    faults, wanted = [], []
    for need in needs:
        installed = _version(need.name)
        if installed and need.specifier.contains(installed, prereleases=True):
            continue
        faults.append(f"{need.name} {installed} instead of {need.specifier}" if installed else f"{need.name} is missing")
        wanted.append(shlex.quote(f"{need.name}{need.specifier}"))
    count = f"{len(needs) - len(faults)} of {len(needs)} as angiosynth needs them"
    return CheckResult("packages", count, f"{_shown(faults)}; `pip install {' '.join(wanted)}`" if faults else "", bool(faults))


def _version(name: str) -> str:
    """Return the installed version, or "" if the package is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _shown(faults: Sequence[str]) -> str:
    return ", ".join(faults[:SHOWN]) + (f" and {len(faults) - SHOWN} more" if len(faults) > SHOWN else "")
