"""Command doctor: check everything that a run needs, and give advice for each fault."""

from __future__ import annotations

import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from angiosynth.data.bids import survey
from angiosynth.data.split import split_patients
from angiosynth.errors import InputError, printable_lines
from angiosynth.project.dvc_files import damaged_files
from angiosynth.project.workspace import Workspace
from angiosynth.runtime.machine import memory_available, not_writable, processor
from angiosynth.settings import Settings, load_settings
from angiosynth.tracking.databases import studies_uri
from angiosynth.tracking.runs import ensure_store, reach_store, tracking_on, tracking_uri, waiting
from angiosynth.verbs.check_result import CheckResult
from angiosynth.verbs.installed_packages import packages
from angiosynth.verbs.privacy_on_disk import left_behind, open_to_others

LEAST_PYTHON = (3, 11)
LEAST_DISK_GB, FAIR_DISK_GB = 2.0, 10.0  # the demo with its environment takes about five
LEAST_PLACE_GB = 0.2  # of the temporary folder and similar folders, which hold a model or a table for a short time
LEAST_MEMORY_GB = 4.0
# Repeat the first steps of `dvc repro` (open the repository, its git and its lock), then print the settings that doctor reports.
ASK_DVC = """import json
from dvc.repo import Repo
repo = Repo('.')
repo.scm
with repo.lock: pass
print(json.dumps([list(repo.config['remote']), repo.config['core'].get('analytics')]))"""
GB = 1e9


def doctor(root: Path) -> tuple[str, bool]:
    """Run all checks of a project.

    Args:
        root: the project's folder.

    Returns:
        The table of results, and whether no check found a fault that prevents a run.
    """
    results = [result for check in CHECKS for result in check(root)]
    width = max(len(result.subject) for result in results)
    lines = []
    for result in results:
        lines.append(f"{result.state:<5}  {result.subject:<{width}}  {result.result}")
        lines += [f"{'':<5}  {'':<{width}}  -> {result.advice}"] if result.advice else []
    return printable_lines(lines), not any(result.fault for result in results)


def _python(root: Path) -> Iterator[CheckResult]:
    del root
    version = platform.python_version()
    old = sys.version_info[:2] < LEAST_PYTHON
    wanted = ".".join(map(str, LEAST_PYTHON))
    yield CheckResult("Python", version, f"install Python {wanted} or later, then `make env PYTHON=python{wanted}`" if old else "", old)


def _torch(root: Path) -> Iterator[CheckResult]:
    del root
    import torch

    from angiosynth.compute.precision import bfloat16_is_native, device

    chosen = device()
    if chosen.type == "cuda":
        name = torch.cuda.get_device_name(chosen)
        free, total = torch.cuda.mem_get_info(chosen)
        yield CheckResult(
            "torch", f"{torch.__version__}, {torch.cuda.device_count()} GPUs: {name}, {free / GB:.0f} of {total / GB:.0f} GB free"
        )
    else:
        note = "profile paper takes days on processors; the demo and `make full` are made for them"
        yield CheckResult("torch", f"{torch.__version__}, no GPU, {torch.get_num_threads()} threads", note)
    kinds = {"AMX": torch.cpu._is_amx_tile_supported(), "AVX-512": torch.cpu._is_avx512_bf16_supported()}
    how = "on the GPU" if chosen.type == "cuda" else " and ".join(name for name, supported in kinds.items() if supported)
    native = bfloat16_is_native(chosen)
    slow = "not in hardware, so `precision: auto` means float32; trainings take about twice as long"
    yield CheckResult("bfloat16", f"in hardware ({how})" if native else "not in hardware", "" if native else slow)


def _settings(root: Path) -> Iterator[CheckResult]:
    try:
        settings = load_settings(root / "params.yaml")
    except InputError as error:
        yield CheckResult("params.yaml", "not usable", f"{str(error).splitlines()[0]}; or `python cli.py profile demo`", fault=True)
        return
    sites = [site.path for site in settings.cohort.sites.values()]
    yield CheckResult("params.yaml", f"valid; sites {', '.join(sites)}")
    for site in sites:
        if not (root / site).is_dir() and not site.startswith("data/phantom/"):
            yield CheckResult(
                "scans",
                f"{site} is missing",
                f"`dvc pull {site}`, or bring scans there, see `python cli.py import --help`, and `dvc add {site}`",
                fault=True,
            )


def _scans(root: Path) -> Iterator[CheckResult]:
    """Check patients and split by the rules of stage `cohort`, without reading voxels, which `cohort` checks when it runs."""
    settings = _loaded(root)
    if settings is None:
        return
    cohort = settings.cohort
    for site, site_settings in cohort.sites.items():
        path = site_settings.path
        if not (root / path).is_dir():
            continue
        surveyed = survey(root / path)
        faults = surveyed.faults
        patients: Any = [SimpleNamespace(id=patient.id, labelled=patient.label is not None) for patient in surveyed.patients]
        if not faults:
            try:
                split_patients(patients, site_settings.split, cohort.seed, site)
            except InputError as error:
                faults = [str(error)]
        labelled = sum(patient.labelled for patient in patients)
        counts = f"{path}: {len(patients)} patients, {labelled} with a label"
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        listed = f"{faults[0]}{more}; `python cli.py cohort --site {site}` lists all" if faults else ""
        yield CheckResult(f"scans of {site}", counts, listed, bool(faults))


def _sizes(root: Path) -> Iterator[CheckResult]:
    """Check that every network of the settings fits this machine's memory."""
    from angiosynth.project.preflight import all_sections, known_needs, refuse_sizes

    settings = _loaded(root)
    if settings is None:
        return
    try:
        needs = known_needs(settings, Workspace(root), keep=False)
        refuse_sizes(needs, all_sections(settings))
    except InputError as error:
        yield CheckResult(
            "networks", "cannot be trained", f"{error}; or `python cli.py profile quick --force`, whose are small", fault=True
        )
        return
    most = max(needs, key=lambda section: needs[section].peak)
    yield CheckResult("networks", f"can be trained; the most is about {needs[most].peak / GB:.1f} GB for {most}")


def _loaded(root: Path) -> Settings | None:
    try:
        return load_settings(root / "params.yaml")
    except InputError:
        return None


def _dvc(root: Path) -> Iterator[CheckResult]:
    if files := damaged_files(root):
        named = " and ".join(map(str, files))
        yield CheckResult("DVC", "not usable here", f"a killed run damaged {named}; `python cli.py doctor --fix`", fault=True)
        return
    done = subprocess.run([sys.executable, "-c", ASK_DVC], cwd=root, capture_output=True, encoding="utf-8", errors="replace", check=False)
    if fault := _dvc_fault(done):
        yield CheckResult("DVC", "not usable here", fault, fault=True)
        return
    names, analytics = json.loads(done.stdout.strip().splitlines()[-1])  # only names of remotes: a URL may name a host or a person
    advice = "" if names else "data is on this machine alone; `dvc remote add -d store /some/folder && dvc push` keeps a copy"
    yield CheckResult("DVC remote", ", ".join(names) or "none", advice)
    if analytics is not False:
        yield CheckResult("DVC telemetry", "on", "`dvc config core.analytics false`")


def _dvc_fault(done: subprocess.CompletedProcess[str]) -> str:
    """Return why `dvc repro` would fail, by the output of ASK_DVC, and the repair; "" if it would not fail."""
    if shutil.which("git") is None:
        return "git is not installed, and DVC needs it: `apt install git`, `brew install git` or `winget install Git.Git`"
    if done.returncode == 0:
        return ""
    message = (done.stderr.strip().splitlines() or ["no answer"])[-1]
    cures = {
        "NotDvcRepoError": "`git init && dvc init` in the project's folder, or clone it with git",
        "SCMError": "no git repository, as in a ZIP: `git init` in the project's folder, or clone it with git",
        "LockError": "another dvc command runs, or was cut off; wait for it, then `rm .dvc/tmp/lock` where none runs",
        "ModuleNotFoundError": "`make env` installs it",
    }
    known = next((cure for name, cure in cures.items() if name in message), None)
    owner = "; `git config --global --add safe.directory` with this folder, where it is yours" if "dubious" in done.stderr else ""
    return known + owner if known else f"{message[:200]}; `dvc doctor` tells what DVC sees{owner}"


def _store(root: Path) -> Iterator[CheckResult]:
    if not tracking_on():
        yield CheckResult("MLflow store", "off", "ANGIOSYNTH_TRACKING=off is set: nothing is recorded")
        return
    kind = tracking_uri(root).partition(":")[0]
    if left := waiting(root):
        yield CheckResult("runs not sent", f"{left} entries in mlruns/outbox", "`python cli.py sync` sends them once the server answers")
    try:
        ensure_store(root)  # as every stage does
    except InputError as error:
        cure = _aside("MLFLOW_TRACKING_URI", "mlflow.db")
        yield CheckResult("MLflow store", f"{kind}, does not open", f"{str(error).splitlines()[0]}; or {cure}", fault=True)
        return
    try:
        reach_store(root)
    except InputError as error:
        yield CheckResult("MLflow store", f"{kind}, does not open", str(error).splitlines()[0])  # no fault: trainings run without it
        return
    pages = "its pages are at MLFLOW_TRACKING_URI" if kind.startswith("http") else "`make ui` shows it"
    yield CheckResult("MLflow store", f"{kind}, opens; {pages}")


def _studies(root: Path) -> Iterator[CheckResult]:
    from angiosynth.search.study import studies_in  # imports Optuna

    try:
        kind = studies_uri(root).partition(":")[0]
        names = studies_in(root)
    except InputError as error:
        cure = _aside("ANGIOSYNTH_STUDIES", "optuna.db")
        yield CheckResult("Optuna's studies", "do not open", f"{str(error).splitlines()[0]}; or {cure}", fault=True)
        return
    yield CheckResult("Optuna's studies", f"{kind}, {len(names)} {'study' if len(names) == 1 else 'studies'}")


def _aside(variable: str, database: str) -> str:
    """Return the command that replaces a database that does not open: by the project's default, or by a new one."""
    if os.environ.get(variable):
        return f"`unset {variable}` for the project's own"
    return f"`mv mlruns/{database} mlruns/{database}.aside` for a new one"


def _disk(root: Path) -> Iterator[CheckResult]:
    free = shutil.disk_usage(root).free / GB
    old = "`dvc gc --all-commits --all-experiments` frees results that no commit knows"
    advice = "" if free >= FAIR_DISK_GB else f"the demo needs about 5 GB with its environment; {old}"
    yield CheckResult("disk", f"{free:.1f} GB free", advice, free < LEAST_DISK_GB)


def _places(root: Path) -> Iterator[CheckResult]:
    """Check the folders that stages write to: the project's, the temporary folder, DVC's cache, MLflow's files."""
    cache = _called(root, sys.executable, "-m", "dvc", "cache", "dir") if (root / ".dvc").is_dir() else None
    places = {"project": root, "mlruns": root / "mlruns", ".work": root / ".work", "temporary folder": Path(tempfile.gettempdir())}
    if cache and cache.strip():
        places["DVC's cache"] = root / cache.strip()
    artifacts = os.environ.get("MLFLOW_DEFAULT_ARTIFACT_ROOT", "")
    if artifacts and "://" not in artifacts:
        places["MLflow's files"] = root / artifacts
    faults = 0
    for name, place in places.items():
        base = next((folder for folder in (place, *place.absolute().parents) if folder.exists()), root)
        short = shutil.disk_usage(base).free / GB < LEAST_PLACE_GB
        fault = ""
        if closed := not_writable(place):
            fault = f"{closed}; `chmod u+rwx {shlex.quote(str(base))}` as its owner"
        elif short:
            other = "`export TMPDIR=/another/disk`" if name == "temporary folder" else "free some, see `df -h`"
            fault = f"{base}: less than {LEAST_PLACE_GB:g} GB free; {other}"
        if fault:
            faults += 1
            yield CheckResult(name, "cannot be used", fault, fault=True)
    if not faults:
        yield CheckResult("folders", f"{len(places)} can be written ({', '.join(places)})")


def _memory(root: Path) -> Iterator[CheckResult]:
    del root
    free = memory_available() / GB
    advice = "" if free >= LEAST_MEMORY_GB else "close other programs; smaller patches or batches in params.yaml need less"
    yield CheckResult("memory", f"{free:.1f} GB free", advice)
    yield CheckResult("processor", processor())


def _called(root: Path, *arguments: str) -> str | None:
    """Run a command and return its standard output, or None if it fails."""
    try:
        done = subprocess.run(arguments, cwd=root, capture_output=True, encoding="utf-8", errors="replace", check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


CHECKS: tuple[Callable[[Path], Iterator[CheckResult]], ...] = (
    *(_python, packages, _torch, _settings, _scans, _sizes),
    *(_dvc, _store, _studies, _disk, _places, open_to_others, left_behind, _memory),
)
