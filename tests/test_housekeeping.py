"""The files around the code: they parse, agree on the version, and keep patients' data out of git."""

from __future__ import annotations

import ast
import gzip
import io
import json
import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import yaml

from angiosynth import __version__
from angiosynth.cli import commands
from angiosynth.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
HOOK = ROOT / ".ci" / "refuse_scans.py"
FORMS = [path for path in sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")) if path.name != "config.yml"]
ELEMENTS = {"markdown", "checkboxes", "textarea", "input", "dropdown"}  # of an issue form
# Keys in use of a devcontainer.json that names an image, and their types in the schema devContainer.base of containers.dev.
CONTAINER: dict[str, type] = dict.fromkeys(("name", "image", "postCreateCommand", "remoteUser"), str)
CONTAINER |= dict.fromkeys(("containerEnv", "remoteEnv", "customizations"), dict)
nib: Any = nibabel


def parsed(name: str) -> dict[Any, Any]:
    tree = yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))
    assert isinstance(tree, dict)
    return tree


def test_the_citation_has_what_its_schema_requires() -> None:
    """Citation File Format 1.2.0: four required keys, an author is a person or an entity."""
    citation = parsed("CITATION.cff")
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(citation)
    assert citation["license"] == "Apache-2.0"
    for author in (*citation["authors"], *citation["references"][0]["authors"]):
        assert set(author) in ({"name"}, {"family-names", "given-names"})
    assert re.fullmatch(r"10\.\d{4,9}/\S+", citation["references"][0]["doi"])


def newest(changelog: str) -> str:
    """The newest version of a changelog; what is unreleased has none yet."""
    names: list[str] = re.findall(r"^## \[([^\]]+)\]", changelog, re.MULTILINE)
    return next(name for name in names if name != "Unreleased")


def test_versions_agree() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert newest(changelog) == parsed("CITATION.cff")["version"] == __version__
    assert f"This is version {__version__}." in public_page()
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)
    assert newest("## [Unreleased]\n\n## [0.2.0] - 2026-01-01\n\n## [0.1.0]\n") == "0.2.0"


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_issue_forms_are_forms_and_warn_of_scans(path: Path) -> None:
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert {"name", "description", "body"} <= set(form)
    assert {element["type"] for element in form["body"]} <= ELEMENTS
    names = [element["id"] for element in form["body"] if element["type"] != "markdown"]
    assert len(names) == len(set(names)) > 0
    assert all(element["attributes"].get("label") for element in form["body"] if element["type"] != "markdown")
    assert "Never attach scans" in form["body"][0]["attributes"]["value"]
    assert parsed(".github/ISSUE_TEMPLATE/config.yml")["blank_issues_enabled"] is False


def test_the_workflow_calls_what_there_is() -> None:
    jobs = parsed(".github/workflows/ci.yml")["jobs"]
    steps = {name: [step.get("run", "") for step in job["steps"]] for name, job in jobs.items()}
    assert ".ci/run" in steps["tests"]
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o100
    files = re.findall(r"tests/\S+", " ".join(steps["fast-tests"]))
    assert len(files) > 3
    assert [name for name in files if not (ROOT / name).exists()] == []
    assert re.search(r"^docs:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_hooks_and_updates_parse() -> None:
    hooks = {hook["id"]: hook for repo in parsed(".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]}
    assert set(hooks) == {"patient-data", "ruff-check", "ruff-format", "mypy"}
    assert hooks["patient-data"]["entry"] == f"python {HOOK.relative_to(ROOT)}"
    updates = parsed(".github/dependabot.yml")
    assert updates["version"] == 2
    assert {update["package-ecosystem"] for update in updates["updates"]} == {"pip", "github-actions", "docker"}


def test_the_dev_container_makes_the_environment() -> None:
    text = (ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8")
    container = json.loads("\n".join(line for line in text.splitlines() if not line.startswith("//")))
    assert set(container) <= set(CONTAINER)  # a key with a typing error is ignored by every tool
    assert all(isinstance(value, CONTAINER[key]) for key, value in container.items())
    assert all(isinstance(value, str) for key in ("containerEnv", "remoteEnv") for value in container[key].values())
    assert set(container["customizations"]["vscode"]) <= {"extensions", "settings"}
    dockerfile = (ROOT / "Dockerfile").read_text()
    (version,) = re.findall(r"python:1-(\d\.\d+-\w+)$", container["image"])
    assert f"FROM python:{version.replace('-', '-slim-')}\n" in dockerfile
    assert container["postCreateCommand"] == "make env"
    assert re.search(r"^env:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert container["remoteEnv"]["PATH"].startswith("${containerWorkspaceFolder}/.venv/bin:")
    assert container["containerEnv"]["TORCH_INDEX"] in dockerfile


def nifti(pair: bool = False, version: int = 1) -> bytes:
    kind = {(False, 1): nib.Nifti1Image, (True, 1): nib.Nifti1Pair, (False, 2): nib.Nifti2Image}[pair, version]
    image = kind(np.zeros((4, 5, 6), np.int16), np.eye(4))
    if not pair:
        return bytes(image.to_bytes())
    image.update_header()
    return bytes(image.header.binaryblock)


def saved_array() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.zeros(3))
    return stream.getvalue()


SCANS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "nifti": ("scan.nii", nifti),
    "nifti-gz": ("scan.NII.GZ", lambda: gzip.compress(nifti())),
    "dicom": ("IM0001.dcm", lambda: b"\0" * 128 + b"DICM"),
    "metaimage": ("scan.mha", lambda: b"ObjectType = Image\nNDims = 3\n"),
    "nrrd": ("scan.nrrd", lambda: b"NRRD0005\n"),
    "array": ("patches.npy", saved_array),
    # The same under other names.
    "nifti-renamed": ("notes.txt", nifti),
    "nifti-2-renamed": ("notes.txt", lambda: nifti(version=2)),
    "nifti-header-renamed": ("notes.txt", lambda: nifti(pair=True)),
    "nifti-gz-renamed": ("notes.bin", lambda: gzip.compress(nifti())),
    "dicom-renamed": ("IM0001", lambda: b"\0" * 128 + b"DICM\2\0\0\0UL"),
    "dicom-without-preamble": ("IM0002", lambda: b"\x08\0\5\0CS\x0a\0ISO_IR 100"),
    "metaimage-renamed": ("notes.txt", lambda: b"ObjectType = Image\nNDims = 3\n"),
    "nrrd-renamed": ("notes.txt", lambda: b"NRRD0005\ntype: short\n"),
    "array-renamed": ("notes.txt", saved_array),
    "large": ("notes.txt", lambda: b"a" * 1_000_001),
}
HARMLESS: dict[str, tuple[str, bytes]] = {
    "text": ("notes.txt", b"A scan is a patient.\n"),
    "empty": ("empty.txt", b""),
    "packed-text": ("notes.txt.gz", gzip.compress(b"A text.\n" * 1000)),
    "cut-gzip": ("notes.gz", gzip.compress(b"A text.\n")[:9]),
    "largest": ("notes.txt", b"a" * 1_000_000),
}


@pytest.fixture(scope="module")
def refusal() -> Callable[[Path], str]:
    function: Callable[[Path], str] = runpy.run_path(str(HOOK))["refusal"]
    return function


@pytest.mark.parametrize("case", SCANS)
def test_the_hook_refuses_scans_by_name_and_by_content(case: str, tmp_path: Path, refusal: Callable[[Path], str]) -> None:
    name, content = SCANS[case]
    (tmp_path / name).write_bytes(content())
    assert refusal(tmp_path / name)


@pytest.mark.parametrize("case", HARMLESS)
def test_the_hook_lets_other_files_pass(case: str, tmp_path: Path, refusal: Callable[[Path], str]) -> None:
    name, content = HARMLESS[case]
    (tmp_path / name).write_bytes(content)
    assert refusal(tmp_path / name) == ""


def test_the_hook_ends_with_one_and_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_bytes(nifti())
    (tmp_path / "fine.txt").write_text("text\n")
    done = subprocess.run([sys.executable, HOOK, "fine.txt", "notes.txt"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "notes.txt" in done.stderr
    done = subprocess.run([sys.executable, HOOK, "fine.txt"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_the_repository_holds_passes_its_hook(refusal: Callable[[Path], str]) -> None:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("no git repository here")
    paths = [ROOT / name for name in done.stdout.split("\0") if name]
    assert [path.name for path in paths if path.is_file() and refusal(path)] == []


def public_page() -> str:
    return (ROOT / "docs" / "public-api.md").read_text(encoding="utf-8")


def test_every_command_and_section_is_on_the_page_of_what_is_public() -> None:
    table = public_page().split("## Settings")[0]
    names = {command.name or (command.callback.__name__ if command.callback else "") for command in commands.registered_commands}
    listed = {span for row in re.findall(r"^\|[^|]+\|(.+)\|$", table, re.MULTILINE) for span in re.findall(r"`([^`]+)`", row)}
    assert listed == names
    sections = public_page().split("## Settings")[1].split("## Files")[0]
    assert set(Settings.model_fields) <= set(re.findall(r"`([a-z_]+)`", sections))


def test_public_names_are_there() -> None:
    rows = re.findall(r"^\| `(angiosynth[\w.]*)` \| (.+) \|$", public_page(), re.MULTILINE)
    assert len(rows) > 5
    missing = [(module, name) for module, names in rows for name in re.findall(r"`(\w+)`", names) if name not in defined_in(module)]
    assert missing == []
    assert "run_training" in defined_in("angiosynth.generators.loop")


def defined_in(module: str) -> set[str]:
    """The names of a module: classes, functions, variables, and what it imports by name."""
    path = ROOT / "src" / Path(*module.split("."))
    text = (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text(encoding="utf-8")
    names: set[str] = set()
    for node in ast.parse(text).body:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        names.update(target.id for target in targets if isinstance(target, ast.Name))
        names.update({node.name} if isinstance(node, (ast.ClassDef, ast.FunctionDef)) else ())
        names.update({alias.name for alias in node.names} if isinstance(node, ast.ImportFrom) else ())
    return names


def test_make_bench_calls_what_needs_no_argument() -> None:
    """A benchmark that asks for a folder or an option would end the whole run."""
    done = subprocess.run(["make", "-n", "bench"], cwd=ROOT, capture_output=True, text=True, check=True)
    called = re.findall(r"benchmarks/(\w+)\.py", done.stdout)
    assert {"metrics", "gan_step"} < set(called)
    for name in called:
        for call in ast.walk(ast.parse((ROOT / "benchmarks" / f"{name}.py").read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "add_argument":
                given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
                option = ast.unparse(call.args[0]).lstrip("f")[1:].startswith("-")
                assert given.get("required") != "True", f"{name}: {ast.unparse(call)}"
                assert option or given.get("nargs") in {"'*'", "'?'"}, f"{name}: {ast.unparse(call)}"
