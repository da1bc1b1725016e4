"""The commands that README.md and docs/ show, and a project folder to run them in as a user would, word for word.

What no test can run has a comment in the page: `<!-- not run: why -->` above a block, `<!-- not run, COMMAND: why -->` for one command.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
BLOCK = re.compile(r"(?:<!-- not run: (?P<reason>[^>]+) -->\s*)?^```sh\n(?P<text>.*?)^```", re.MULTILINE | re.DOTALL)
TYPED = re.compile(r"^\| to \| type \|\n\|[-| ]+\|\n(?P<rows>(?:\|.*\n)+)", re.MULTILINE)
NOT_RUN = re.compile(r"<!-- not run, (?P<command>.+): (?P<reason>[^:]+) -->")
SPAN = re.compile(r"`([^`]+)`")
PROGRAMS = ("python", "dvc", "git", "make", "docker", "torchrun", "pip", "curl", "ssh", "sbatch", "mlflow")
COMMENT = re.compile(r"\s{2,}#.*$")


@dataclass(frozen=True)
class Shown:
    """A command of a page. `reason` says why it is not run, "" where it is."""

    page: str
    command: str
    reason: str = ""


def shown() -> Iterator[Shown]:
    """Every command of a block, and of the column "type" of a table."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        name = page.relative_to(ROOT).as_posix()
        reasons = {one["command"]: one["reason"] for one in NOT_RUN.finditer(text)}
        for block in BLOCK.finditer(text):
            for command in commands_of(block["text"]):
                yield Shown(name, command, block["reason"] or reasons.get(command, ""))
        for table in TYPED.finditer(text):
            for row in table["rows"].splitlines():
                for span in SPAN.findall(row.split("|")[2]):
                    if span.startswith(PROGRAMS):
                        yield Shown(name, span, reasons.get(span, ""))


def commands_of(block: str) -> list[str]:
    """The commands of a block without their comments; one that goes on in the next line (quote, backslash) is one."""
    found, open_command = [], ""
    for line in block.splitlines():
        text = f"{open_command}\n{line}" if open_command else COMMENT.sub("", line)
        if text.endswith("\\") or text.count('"') % 2 or text.count("'") % 2:
            open_command = text
            continue
        open_command = ""
        if text.strip():
            found.append(text.strip())
    assert not open_command, f"this command has no end: {open_command}"
    return found


def environment() -> dict[str, str]:
    """A user's, with this code and this Python, without a home's settings of git."""
    others = ("MLFLOW_", "DVC_", "ANGIOSYNTH_", "GIT_", "PYTHONDONTWRITE")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    quiet = {"DVC_NO_ANALYTICS": "1", "MLFLOW_DISABLE_TELEMETRY": "true", "OMP_NUM_THREADS": "1", "ANGIOSYNTH_TRACKING": "off"}
    who = {f"GIT_{role}_{what}": "test@localhost" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    return {**kept, **quiet, **who, "PYTHONPATH": "src", "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def run(folder: Path, command: str, places: Mapping[str, str] | None = None, code: int = 0) -> str:
    """Run a documented command by the shell; `places` says what stands for its examples of paths and names. Gives what it said."""
    for example, place in (places or {}).items():
        command = command.replace(example, shlex.quote(place))
    done = subprocess.run(["sh", "-c", command], cwd=folder, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == code, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout + done.stderr


def clone_of_the_project(folder: Path, stages: Sequence[str]) -> Path:
    """A git repository as a user has it after `git clone`, with some stages alone: of all of them DVC takes seconds a command to think."""
    for name in ("cli.py", ".dvcignore", ".gitignore", "params.yaml", "profiles", "sweeps", "src", ".dvc/config"):
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "*.json"))
        else:
            shutil.copy(source, target)
    pipeline = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": {name: pipeline[name] for name in stages}}))
    run(folder, "git init -q && git add -A && git commit -q -m start")
    return folder
