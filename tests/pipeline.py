"""dvc.yaml as its stages come out for a params.yaml: what each runs, and what it says it depends on."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
CODE = "src/"
PLACE = re.compile(r"\$\{([^}]+)\}")


@dataclass(frozen=True)
class Stage:
    """One stage, of a group one member.

    `name`: such as "train-unet-synthetic@NAME", without "@NAME" where it stands alone. `command`: as typed. `params`: keys of
    params.yaml. `named`: sections of params.yaml that stand in the paths of its dependencies, as in ${cohort.source}.
    """

    name: str
    command: str
    params: tuple[str, ...]
    named: frozenset[str]
    dependencies: tuple[str, ...]
    outputs: tuple[str, ...]

    @property
    def verb(self) -> str:
        """The command's word: train-unet."""
        return self.command.split()[2]

    @property
    def module(self) -> str:
        """The module of src/angiosynth that the command runs: stages/train_unet."""
        return f"stages/{self.verb.replace('-', '_')}"

    @property
    def code(self) -> tuple[str, ...]:
        return tuple(path for path in self.dependencies if path.startswith(CODE))

    @property
    def sections(self) -> frozenset[str]:
        """Sections of params.yaml whose change reruns the stage; all of them where it depends on the file."""
        if "params.yaml" in self.dependencies:
            return frozenset({"*"})
        return frozenset(key.split(".")[0] for key in self.params) | self.named


def under(path: str, folders: tuple[str, ...]) -> bool:
    """Whether the path is one of the folders or files, or lies in one."""
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)


def stages_of(text: str, params: Mapping[str, Any]) -> tuple[Stage, ...]:
    """The stages of a dvc.yaml's text, groups with `foreach` member by member."""
    return tuple(stage for name, entry in yaml.safe_load(text)["stages"].items() for stage in _members(name, entry, params))


def _members(name: str, entry: Mapping[str, Any], params: Mapping[str, Any]) -> Iterator[Stage]:
    if "foreach" not in entry:
        yield _stage(name, entry, params)
        return
    for key, item in _value(entry["foreach"].removeprefix("${").removesuffix("}"), params).items():
        yield _stage(f"{name}@{key}", entry["do"], {**params, "key": key, "item": item})


def _stage(name: str, entry: Mapping[str, Any], values: Mapping[str, Any]) -> Stage:
    listed = entry.get("params", [])
    files = tuple(path for one in listed if isinstance(one, dict) for path in one)  # parameters that stand in other files
    metrics = [path for one in entry.get("metrics", []) for path in one]
    places = {place for dep in entry["deps"] for place in PLACE.findall(dep)}
    return Stage(
        name,
        _filled(entry["cmd"], values),
        tuple(_filled(one, values) for one in listed if isinstance(one, str)),
        frozenset(place.split(".")[0] for place in places) & frozenset(values) - {"key", "item"},
        (*(_filled(dep, values) for dep in entry["deps"]), *files),
        tuple(_filled(out, values) for out in (*entry.get("outs", []), *metrics)),
    )


def _filled(text: str, values: Mapping[str, Any]) -> str:
    return PLACE.sub(lambda place: str(_value(place[1], values)), text)


def _value(dotted: str, values: Mapping[str, Any]) -> Any:
    node: Any = values
    for key in dotted.split("."):
        node = node[key]
    return node


def write_project(folder: Path, params: str, environment: Mapping[str, str]) -> None:
    """A copy of the repository's code in a folder that is there, with a params.yaml, committed to git."""
    for name in ("dvc.yaml", "cli.py", ".dvcignore", ".gitignore"):
        shutil.copy(ROOT / name, folder / name)
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    shutil.copytree(ROOT / "sweeps", folder / "sweeps", ignore=shutil.ignore_patterns("*.json"))
    (folder / ".dvc").mkdir()
    shutil.copy(ROOT / ".dvc" / "config", folder / ".dvc" / "config")
    (folder / "params.yaml").write_text(params)
    who = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    for words in (("init", "-q"), ("add", "-A"), (*who, "commit", "-q", "-m", "start")):
        subprocess.run(["git", *words], cwd=folder, env=dict(environment), umask=0, check=True)
