"""Create a project folder from the installed package, for scans of a lab or for the demo.

The folder contains a copy of the code, src/angiosynth, next to cli.py and dvc.yaml, and works like a clone of the repository: cli.py runs
the copy, and the stages of dvc.yaml depend on its files. The results of a project therefore belong to the code that is committed with it,
regardless of later installations. `upgrade` copies the code of the installed package, and stages whose code differs run again.
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
    """Create a project folder that only its owner can access; with git it becomes a repository without commits.

    Args:
        folder: must not exist yet.
        profile: name of the profile that becomes params.yaml.

    Raises:
        InputError: the folder exists or cannot be written, or the profile does not exist.
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
    """Replace code, cli.py, dvc.yaml and profiles of a project by those of the installed package; params.yaml and data are kept.

    Local changes to these files must be committed to git first, so that they are not lost.

    Raises:
        InputError: the folder is not a project, contains the running code, or has uncommitted changes.
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
    """Folder of FILES: inside the package for an installed wheel, the root for a checkout.

    Raises:
        InputError: files are missing in both.
    """
    installed, checkout = PACKAGE / FOLDER, PACKAGE.parents[1]
    for place in (installed, checkout):
        if all((place / name).is_file() for name in FILES):
            return place
    raise InputError(f"{installed}: files of the package are missing; install angiosynth anew")


def _check_profile(source: Path, profile: str) -> None:
    """Check that a profile exists.

    Raises:
        InputError: it does not; the message lists the existing ones.
    """
    known = [Path(name).stem for name in FILES if name.startswith("profiles/")]
    if profile not in known or not (source / "profiles" / f"{profile}.yaml").is_file():
        raise InputError(f"--profile {profile}: no such profile; there are {', '.join(known)}")


def _copy_code(target: Path) -> None:
    """Copy the package without project files and bytecode; file modes follow the umask instead of the installed files."""
    ignored = shutil.ignore_patterns(FOLDER, "__pycache__")
    shutil.copytree(PACKAGE, target, ignore=ignored, copy_function=shutil.copyfile, dirs_exist_ok=True)


def _git(folder: Path, *arguments: str) -> str | None:
    """Output of a git command in the repository of a folder, ignoring GIT_ variables of the caller; None if it fails."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
