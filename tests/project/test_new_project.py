"""Project folders made by `new` and `demo`, from a checkout and from the wheel."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from angiosynth.cli import commands
from angiosynth.errors import InputError
from angiosynth.project import new_project as projects
from angiosynth.project.files import FILES, FOLDER
from angiosynth.settings import load_settings
from tests.documented import environment
from tests.factories import tiny_tree, untried
from tests.pipeline import ROOT, stages_of
from tests.project.wheels import OFFLINE, PIP, build_wheel


def make(*words: str, folder: Path) -> str:
    done = CliRunner().invoke(commands, [*words, str(folder)])
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


def git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=folder, env=environment(), capture_output=True, text=True, check=True).stdout


def commit(folder: Path) -> None:
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "A state")


def test_a_project_holds_all_that_its_stages_name(tmp_path: Path) -> None:
    project = tmp_path / "vessels of ours"
    output = make("new", folder=project)
    assert f"cd '{project}'" in output
    for stage in stages_of((project / "dvc.yaml").read_text(), tiny_tree()):
        assert stage.code
        assert [path for path in stage.code if not (project / path).exists()] == [], stage.name
    for name in FILES:
        if name != ".dvc/config":
            assert (project / name).read_bytes() == (ROOT / name).read_bytes()
    assert (project / "params.yaml").read_bytes() == (ROOT / "profiles" / "real.yaml").read_bytes()
    copied = {path.relative_to(project / "src").as_posix() for path in (project / "src").rglob("*.py")}
    assert copied == {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src").rglob("*.py")}


def test_the_demo_draws_its_sites(tmp_path: Path) -> None:
    make("demo", "-o", folder=tmp_path / "demo")
    assert (tmp_path / "demo" / "params.yaml").read_bytes() == (ROOT / "profiles" / "demo.yaml").read_bytes()
    assert list(load_settings(tmp_path / "demo" / "params.yaml").phantom.sites) == ["site-a", "site-b"]


def test_the_next_line_puts_the_environment_first_where_another_python_is_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = str(Path(sys.executable).parent)
    monkeypatch.setenv("PATH", f"{own}{os.pathsep}/usr/bin")
    assert f"Next: cd {tmp_path / 'one'}; python cli.py repro" in make("demo", "-o", folder=tmp_path / "one")
    monkeypatch.setenv("PATH", str(tmp_path))  # as after `uv tool install` and `pipx install`
    wanted = f'Next: export PATH={shlex.quote(own)}:"$PATH"; cd {tmp_path / "two"}; python cli.py repro'
    assert wanted in make("demo", "-o", folder=tmp_path / "two")


def test_a_project_is_a_repository_for_its_owner_alone_and_scans_stay_out(tmp_path: Path) -> None:
    project = tmp_path / "p"
    make("new", folder=project)
    assert project.stat().st_mode & 0o777 == 0o700
    (project / "data" / "raw" / "site-a").mkdir(parents=True)
    (project / "data" / "raw" / "site-a" / "sub-001_angio.nii.gz").write_bytes(b"a scan")
    commit(project)
    tracked = set(git(project, "ls-files").splitlines())
    assert {"dvc.yaml", "params.yaml", "cli.py", "README.md", ".dvc/config", "src/angiosynth/cli.py"} <= tracked
    assert not [name for name in tracked if name.startswith("data/") or "__pycache__" in name]
    assert "no_scm" not in (project / ".dvc" / "config").read_text()


def test_without_git_dvc_is_configured_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    make("new", folder=tmp_path / "p")
    assert not (tmp_path / "p" / ".git").exists()
    assert (tmp_path / "p" / ".dvc" / "config").read_text().endswith("    autostage = true\n    no_scm = true\n")


def test_git_of_the_caller_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    make("new", folder=tmp_path / "p")
    assert (tmp_path / "p" / ".git").is_dir()
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("kind", ["file", "folder", "broken-link"])
def test_what_is_there_is_left(kind: str, tmp_path: Path) -> None:
    place = tmp_path / "p"
    if kind == "file":
        place.touch()
    elif kind == "folder":
        place.mkdir()
    else:
        place.symlink_to("nowhere")
    with pytest.raises(InputError, match=r"p: exists already; name a folder that does not"):
        projects.new_project(place, "real")
    assert os.listdir(tmp_path) == ["p"]


def test_an_unknown_profile_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--profile huge: no such profile; there are demo, full, paper, quick, real"):
        projects.new_project(tmp_path / "p", "huge")
    assert os.listdir(tmp_path) == []


def test_an_upgrade_replaces_code_and_keeps_settings_and_data(tmp_path: Path) -> None:
    project = tmp_path / "p"
    make("new", folder=project)
    old = project / "src" / "angiosynth" / "of_an_older_version.py"
    old.write_text("")
    (project / "cli.py").write_text("# older\n")
    (project / "params.yaml").write_text("threads: 2\n")
    commit(project)
    (project / "data" / "raw").mkdir(parents=True)
    make("new", "--upgrade", folder=project)
    assert not old.exists()
    assert (project / "cli.py").read_bytes() == (ROOT / "cli.py").read_bytes()
    assert (project / "params.yaml").read_text() == "threads: 2\n"
    assert (project / "data" / "raw").is_dir()
    assert set(git(project, "diff", "--name-only").split()) == {"cli.py", "src/angiosynth/of_an_older_version.py"}


@pytest.mark.parametrize("changed", ["cli.py", "src/angiosynth/arrays.py", "src/angiosynth/privacy/mine.py"])
def test_an_upgrade_never_takes_the_only_copy_of_a_change(changed: str, tmp_path: Path) -> None:
    project = tmp_path / "p"
    make("new", folder=project)
    with pytest.raises(InputError, match="not committed"):
        projects.upgrade(project)
    commit(project)
    (project / changed).write_text("# mine\n")
    with pytest.raises(InputError, match="not committed"):
        projects.upgrade(project)
    assert (project / changed).read_text() == "# mine\n"


def test_an_upgrade_asks_for_a_project_that_is_not_the_running_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no project folder"):
        projects.upgrade(tmp_path)
    with pytest.raises(InputError, match="this is the code that runs"):
        projects.upgrade(ROOT)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the sources and installed without its dependencies."""
    home = tmp_path_factory.mktemp("wheel")
    subprocess.run([*PIP, "install", *OFFLINE, "--target", home / "target", build_wheel(home)], check=True, capture_output=True)
    return home


def run_installed(installed: Path, folder: Path, command: str) -> str:
    """Run a command by the shell, with the installed package's program on the PATH."""
    target = installed / "target"
    words = environment()
    words |= {"PYTHONPATH": str(target), "PATH": f"{target / 'bin'}{os.pathsep}{words['PATH']}"}
    return subprocess.run(["sh", "-c", command], cwd=folder, env=words, check=True, capture_output=True, text=True).stdout


@pytest.mark.long
@pytest.mark.slow
def test_the_wheel_has_all_that_the_package_and_new_need(installed: Path) -> None:
    (wheel,) = (installed / "dist").glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    package = ROOT / "src" / "angiosynth"
    needed = [path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert {path.relative_to(ROOT / "src").as_posix() for path in needed} <= names
    assert {f"angiosynth/{FOLDER}/{name}" for name in FILES} <= names
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/"))]


@pytest.mark.slow
@pytest.mark.long
def test_the_installed_program_makes_a_demo_whose_packages_doctor_knows(installed: Path, tmp_path: Path) -> None:
    assert "cd demo; python cli.py repro" in run_installed(installed, tmp_path, "angiosynth demo -o demo")
    (tmp_path / "demo" / "params.yaml").unlink()  # doctor would try its networks, which takes longer than all the rest
    table = run_installed(installed, tmp_path / "demo", "python cli.py doctor || true")
    needs = len(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"])
    assert f"{needs} of {needs} as angiosynth needs them" in table


@pytest.mark.slow
@pytest.mark.long
def test_stages_of_a_project_from_the_wheel_run_again_after_an_upgrade_that_changes_their_code(installed: Path, tmp_path: Path) -> None:
    run_installed(installed, tmp_path, "angiosynth new vessels")
    project = tmp_path / "vessels"
    assert not (project / "src" / "angiosynth" / FOLDER).exists()
    tree = untried(tiny_tree())
    tree["phantom"] |= {"seed": 1, "diseased": 0.5}  # DVC asks for keys that a stage names, though they have defaults
    (project / "params.yaml").write_text(yaml.safe_dump(tree))
    dvc = [sys.executable, "-m", "dvc", "repro", "phantom@site-a"]
    variables = {name: value for name, value in environment().items() if name != "PYTHONPATH"}  # cli.py finds the code beside it

    def repro(*options: str) -> str:
        return subprocess.run([*dvc, *options], cwd=project, env=variables, capture_output=True, text=True, check=True).stdout

    assert "Running stage 'phantom@site-a'" in repro()
    assert len(list((project / "data" / "phantom" / "site-a").glob("sub-*"))) == 4
    assert "Running" not in repro()
    commit(project)
    run_installed(installed, project, "angiosynth new --upgrade")
    assert "Running" not in repro()
    newer = installed / "target" / "angiosynth" / "phantom" / "tubes.py"
    newer.write_text(f"{newer.read_text()}\nNEWER = 1\n")
    run_installed(installed, project, "angiosynth new --upgrade")
    assert "Running stage 'phantom@site-a'" in repro("--dry")
