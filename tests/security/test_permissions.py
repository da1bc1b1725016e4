"""What holds patients is its user's alone: 0700 and 0600, whatever the umask, and whatever lay there before."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from angiosynth import cli
from angiosynth.project import preflight
from angiosynth.runtime.private import CACHE, PLACES, close_places
from angiosynth.verbs.privacy_on_disk import open_to_others
from tests.factories import make_cohort, one_site, tiny_tree

ROOT = Path(__file__).resolve().parents[2]
UMASKS = [0o000, 0o002, 0o022, 0o077]
# What may be open in a project: code and settings, and git's own.
OPEN = {
    "src",
    "cli.py",
    "dvc.yaml",
    "dvc.lock",
    "params.yaml",
    ".git",
    ".gitignore",
    ".dvcignore",
    ".dvc",
    ".dvc/config",
    ".dvc/.gitignore",
}


def _open(path: Path) -> bool:
    return bool(path.lstat().st_mode & 0o077) and not path.is_symlink()


def _reachable(folder: Path, skip: Sequence[str] = ()) -> Iterator[str]:
    """What others may read or list below a folder: all that is open and in no closed folder."""
    for path in sorted(folder.iterdir()):
        if path.relative_to(folder).as_posix() in skip:
            continue
        if _open(path):
            yield path.name
            if path.is_dir() and not path.is_symlink():
                yield from (f"{path.name}/{name}" for name in _reachable(path))


def _typed(umask: int, *words: str) -> None:
    """A command as a user types it, in a shell with this umask."""
    before = os.umask(umask)
    try:
        with suppress(SystemExit):
            cli.app(lambda: cli.commands(list(words)))
    finally:
        os.umask(before)


def _project(folder: Path) -> Path:
    folder.mkdir()
    (folder / "dvc.yaml").touch()
    (folder / ".dvc").mkdir()
    (folder / "data").mkdir()
    (folder / "params.yaml").write_text(yaml.safe_dump({**tiny_tree(), "cohort": one_site("data/raw/site-a")}))
    return folder


# Neighbours: import, a second import over one that others could read, and the stages that read it; every umask.
@pytest.mark.parametrize("umask", UMASKS, ids=oct)
def test_what_commands_write_is_closed_file_by_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, umask: int) -> None:
    monkeypatch.setattr(preflight, "preflight", lambda *_: None)  # half a minute of trying networks
    lab, project = make_cohort(tmp_path / "lab", 4, (32, 36, 4)), _project(tmp_path / "project")
    monkeypatch.chdir(project)
    brought = ["import", str(lab), "--scan", "*_angio", "--vessels", "*_desc-vessel_mask", "--brain", "*_desc-brain_mask"]
    _typed(umask, *brought, "-o", "data/raw/site-a")
    for path in [project / "data", *project.rglob("data/**/*"), *project.rglob("names/**/*")]:
        path.chmod(0o777 if path.is_dir() else 0o666)
    before = (project / "params.yaml").stat().st_mode
    _typed(umask, *brought, "-o", "data/raw/site-a")
    _typed(umask, "cohort")
    _typed(umask, "patches")
    written = [path for name in ("data", "names", "splits", ".dvc/cache") for path in [project / name, *(project / name).rglob("*")]]
    assert {path.name for path in written} >= {"site-a.csv", "image.npy", "index.csv", "site-a.json", "sub-001_angio.nii.gz"}
    assert [path.relative_to(project).as_posix() for path in written if _open(path)] == []
    assert (project / "params.yaml").stat().st_mode == before


@pytest.mark.slow
def test_a_whole_pipelines_project_is_closed_to_others(reproduced: Path) -> None:
    """test_pipeline.py runs it with umask 0, DVC too. DVC's copies have its umask; they lie in folders that are closed."""
    assert set(_reachable(reproduced, ["src", ".git", "dvc_plots"])) <= OPEN
    ours = [path for name in ("mlruns", ".work", "lineage", "models/generators", "metrics/patients") for path in [reproduced / name]]
    assert [path.name for path in ours if not path.is_dir()] == []
    recorded = [path for name in ("mlruns", ".work", "lineage") for path in (reproduced / name).rglob("*")]
    assert {"mlflow.db", "unet.pt", "generator.json", "model.pt2"} <= {path.name for path in recorded}
    assert [path.relative_to(reproduced).as_posix() for path in recorded if _open(path)] == []


# Neighbours: a folder in a folder, a file of a user's, a link to outside, DVC's cache, a link in place of a place.
def test_places_that_were_open_are_closed_at_the_start_of_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project, outside = _project(tmp_path / "project"), tmp_path / "outside"
    kept, scan = project / CACHE / "files" / "md5" / "aa" / "bb", project / "data" / "raw" / "site-a" / "x.nii.gz"
    for file in (kept, scan, outside / "theirs.txt", tmp_path / "disk" / "unet.pt"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
        file.chmod(0o444 if file == kept else 0o664)
    (project / "data" / "link").symlink_to(outside / "theirs.txt")
    (project / "models").symlink_to(tmp_path / "disk")
    os.link(kept, project / "data" / "hard")
    for folder in (tmp_path / "disk", outside, *(path for path in project.rglob("*") if path.is_dir())):
        folder.chmod(0o2775)
    monkeypatch.chdir(project)
    CliRunner().invoke(cli.commands, ["summary", "--show"])
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (project / "data", scan.parent, scan, project / CACHE, tmp_path / "disk")}
    assert modes == {
        project / "data": 0o2700,
        scan.parent: 0o2700,
        scan: 0o600,
        project / CACHE: 0o2700,
        tmp_path / "disk": 0o2700,
    }
    assert stat.S_IMODE((tmp_path / "disk" / "unet.pt").stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.stat().st_mode) == 0o444, "DVC takes any other mode for a change"
    assert stat.S_IMODE((outside / "theirs.txt").stat().st_mode) == 0o664


def test_dvcs_cache_is_made_closed_before_dvc_makes_it_open(tmp_path: Path) -> None:
    project = _project(tmp_path / "project")
    close_places(project)
    assert stat.S_IMODE((project / CACHE).stat().st_mode) == 0o700
    (project / CACHE).rmdir()
    (project / ".dvc" / "config").write_text("[cache]\n    dir = /mnt/disk/cache\n")
    close_places(project)
    assert not (project / CACHE).exists(), "it is elsewhere"


@pytest.fixture
def everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that counts as one that others get to, although pytest's own is closed."""
    real = Path.stat

    def seen(path: Path, **words: bool) -> os.stat_result:
        found = real(path, **words)
        return os.stat_result((found.st_mode | 0o055, *found[1:])) if path in tmp_path.parents or path == tmp_path else found

    monkeypatch.setattr(Path, "stat", seen)
    return tmp_path


# Neighbours: a project's folder, DVC's cache and remotes elsewhere, scans elsewhere, MLflow's files and database elsewhere.
def test_doctor_has_a_line_for_each_place_that_is_open(everywhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = _project(everywhere / "project")
    project.chmod(0o755)
    places = [*(project / name for name in PLACES), *(everywhere / name for name in ("cache", "remote", "scans", "runs"))]
    for place in places:
        place.mkdir(parents=True, exist_ok=True)
        place.chmod(0o700)
    (everywhere / "mlflow.db").touch(mode=0o600)
    (project / ".dvc" / "config").write_text(f"[cache]\n    dir = {everywhere}/cache\n['remote \"far\"']\n    url = s3://bucket/x\n")
    (project / ".dvc" / "config.local").write_text("['remote \"store\"']\n    url = ../../remote\n")
    tree = tiny_tree()
    tree["cohort"]["sites"]["site-a"]["path"] = str(everywhere / "scans")
    (project / "params.yaml").write_text(yaml.safe_dump(tree))
    monkeypatch.setenv("MLFLOW_DEFAULT_ARTIFACT_ROOT", str(everywhere / "runs"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{everywhere}/mlflow.db")
    assert [finding.subject for finding in open_to_others(project)] == ["patients' folders"]
    for number, place in enumerate([*places, everywhere / "mlflow.db"]):
        (project / ".dvc").chmod(0o755)
        place.chmod((0o750, 0o705, 0o755, 0o777)[number % 4])
        (found,) = open_to_others(project)
        assert found.state == "note"
        cure = found.advice.split("`")[1]
        assert Path(cure.removeprefix("chmod go-rwx ")).resolve() == place
        subprocess.run(cure, shell=True, check=True, cwd=project)
        assert [finding.subject for finding in open_to_others(project)] == ["patients' folders"]


def test_what_is_anothers_is_left_and_doctor_names_it(everywhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = _project(everywhere / "project")
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    for folder in (project, project / "data"):
        folder.chmod(0o755)
    close_places(project)
    assert stat.S_IMODE((project / "data").stat().st_mode) == 0o755
    (found,) = open_to_others(project)
    assert re.match(r"it is \w+'s, who closes it by `chmod go-rwx \S+data`", found.advice)


def test_no_process_leaves_an_image_of_its_memory(tmp_path: Path) -> None:
    code = (
        "import resource, os; from angiosynth import cli; resource.setrlimit(resource.RLIMIT_CORE, (4096, 4096)); "
        "cli.app(lambda: print(resource.getrlimit(resource.RLIMIT_CORE)[0], oct(os.umask(0))))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "0o77"]
