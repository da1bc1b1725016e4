"""A project folder anywhere, from the installed package: for a lab's scans or for the demo.

The folder gets a copy of the code, src/angiosynth, beside cli.py and dvc.yaml, and works as a clone of the repository does: cli.py runs
the copy, and the stages of dvc.yaml depend on its files. So a project's results belong to the code that lies and is committed with it,
whatever is installed later; `upgrade` brings the code of the installed package, and the stages whose code differs run again.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import angiosynth
from angiosynth.errors import InputError
from angiosynth.project.files import FILES, FOLDER
from angiosynth.project.params import take_profile
from angiosynth.reading import read_bytes
from angiosynth.runtime.output import whole_file, whole_folder

PACKAGE = Path(angiosynth.__file__).resolve().parent
CODE = Path("src", "angiosynth")
UPGRADED = tuple(name for name in FILES if name in {"cli.py", "dvc.yaml"} or name.startswith("profiles/"))
LARGEST = 1 << 20  # bytes of a project file
NO_GIT = "    no_scm = true\n"
README = """\
# A project of angiosynth {version}

All commands run in this folder, in the environment that angiosynth is installed in: `dvc` calls `python cli.py`, so that environment has
to be active. `python cli.py doctor` says what is missing, `python cli.py repro` runs what has changed, `report/index.html` is the result.

- params.yaml: the settings; `python cli.py profile NAME` takes others from profiles/.
- dvc.yaml: the stages. src/angiosynth: a copy of the code, which cli.py runs and the stages depend on. After
  `pip install --upgrade` of a newer wheel the command `angiosynth new --upgrade` brings the new code here, and what it changes runs again.
- Scans stay out of git; `dvc add data/raw/SITE` keeps them. This folder is for its owner alone.
"""


def new_project(folder: Path, profile: str) -> None:
    """Make a project folder, for its user alone; a git repository where there is git, nothing committed.

    Args:
        folder: must not exist yet.
        profile: of profiles/, becomes params.yaml.

    Raises:
        InputError: the folder exists or cannot be written, or there is no such profile.
    """
    if os.path.lexists(folder):
        raise InputError(f"{folder}: exists already; name a folder that does not, or bring a project's code up to date with --upgrade")
    source = _project_files()
    _check_profile(source, profile)
    with whole_folder(folder) as temporary:
        for name in FILES:
            (temporary / name).parent.mkdir(parents=True, exist_ok=True)
            (temporary / name).write_bytes(read_bytes(source / name, LARGEST))
        _copy_code(temporary / CODE)
        take_profile(temporary / "params.yaml", temporary / "profiles", profile, force=False)
        (temporary / "README.md").write_text(README.format(version=angiosynth.__version__), encoding="utf-8")
        if _git(temporary, "init", "-q") is None:
            config = temporary / ".dvc" / "config"
            config.write_bytes(read_bytes(config, LARGEST) + NO_GIT.encode())


def upgrade(folder: Path) -> None:
    """Bring the installed package's code, cli.py, dvc.yaml and profiles into a project; params.yaml and all data stay.

    The project's own changes to these are in git before they are replaced: files that are not committed are refused.

    Raises:
        InputError: the folder is no project, is the one whose code runs, or has changes that are not committed.
    """
    if not all((folder / name).exists() for name in ("dvc.yaml", "cli.py", CODE)):
        raise InputError(f"{folder}: no project folder, dvc.yaml, cli.py and {CODE} belong to one; make one without --upgrade")
    if (folder / CODE).resolve() == PACKAGE:
        raise InputError(f"{folder}: this is the code that runs; type `angiosynth new --upgrade`, which is the installed package's")
    replaced = [str(CODE), *UPGRADED]
    uncommitted = _git(folder, "status", "--porcelain", "--untracked-files=all", "--", *replaced)
    if uncommitted != "" or _git(folder, "ls-files", "--error-unmatch", "dvc.yaml") is None:
        raise InputError(f"{folder}: cli.py, dvc.yaml, profiles or src are not committed as they are; commit them with git first")
    source = _project_files()
    with whole_folder(folder / CODE) as temporary:
        _copy_code(temporary)
    for name in UPGRADED:
        with whole_file(folder / name) as temporary:
            temporary.write_bytes(read_bytes(source / name, LARGEST))


def _project_files() -> Path:
    """The folder of FILES: in the wheel beside the modules, in a checkout its root.

    Raises:
        InputError: neither is there.
    """
    installed, checkout = PACKAGE / FOLDER, PACKAGE.parents[1]
    for place in (installed, checkout):
        if all((place / name).is_file() for name in FILES):
            return place
    raise InputError(f"{installed}: files of the package are missing; install angiosynth anew")


def _check_profile(source: Path, profile: str) -> None:
    """Refuse a profile that there is none of.

    Raises:
        InputError: with the names that there are.
    """
    known = [Path(name).stem for name in FILES if name.startswith("profiles/")]
    if profile not in known or not (source / "profiles" / f"{profile}.yaml").is_file():
        raise InputError(f"--profile {profile}: no such profile; there are {', '.join(known)}")


def _copy_code(target: Path) -> None:
    """The package without the project files and what Python keeps; modes follow the umask, not the installed files'."""
    ignored = shutil.ignore_patterns(FOLDER, "__pycache__")
    shutil.copytree(PACKAGE, target, ignore=ignored, copy_function=shutil.copyfile, dirs_exist_ok=True)


def _git(folder: Path, *words: str) -> str | None:
    """What a command of git prints in a folder's own repository, whichever one the caller's variables name; None where it fails."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(["git", *words], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
