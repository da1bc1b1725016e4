"""Every stage on a disk that fills while it works: one line, nothing half-written, and the next run ends as if nothing had been."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from angiosynth.cli import app, commands
from tests.pipeline import Stage, stages_of
from tests.test_pipeline import RECORDED, SITES

pytestmark = [pytest.mark.slow, pytest.mark.copied]
DISK_BYTES, BLOCK = 96 << 20, 4096  # of the small disk; a file takes whole blocks of it
COPIED = ("data", "splits", "models", "predictions", "metrics", "audit", "report", "sweeps", "params.yaml", "dvc.yaml", "cli.py", "src")
# One of each command, and what share is free of the bytes that its outputs need.
STAGES = (
    *(f"{verb}@{SITES[0]}" for verb in ("phantom", "cohort", "patches")),
    *(f"{verb}@{RECORDED}" for verb in ("train-generator", "synthesize", "audit")),
    *("select-unet", "train-unet", "evaluate", "transfer-real", "worth", "summary", "report", "audit-references"),
)
TRIED = [*((name, 0.5) for name in STAGES), *((name, 0.0) for name in (f"patches@{SITES[0]}", "train-unet", "report"))]


@dataclass(frozen=True)
class Project:
    """A project on a small disk, whose commands run in this process."""

    folder: Path
    capsys: pytest.CaptureFixture[str]

    def call(self, stage: Stage) -> tuple[int, list[str]]:
        """Run a stage's command; gives its exit code and the lines that it wrote as faults."""
        code = 0
        try:
            app(lambda: commands(stage.command.split()[2:], standalone_mode=False))
        except SystemExit as end:
            code = int(end.code or 0)
        return code, [line for line in self.capsys.readouterr().err.splitlines() if line.startswith("angiosynth: ")]


@pytest.fixture(scope="module")
def disk(copy_of_reproduced: Callable[[Path, Iterable[str]], None], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the reproduced project on a disk of its own."""
    folder = tmp_path_factory.mktemp("disk")
    words = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("a small disk cannot be mounted here: root asks for it")
    copy_of_reproduced(folder, COPIED)
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture
def project(disk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Project:
    monkeypatch.chdir(disk)
    monkeypatch.setenv("ANGIOSYNTH_TRACKING", "off")
    return Project(disk, capsys)


def _stages(project: Path) -> dict[str, Stage]:
    stages = stages_of((project / "dvc.yaml").read_text(), yaml.safe_load((project / "params.yaml").read_text()))
    return {stage.name: stage for stage in stages}


def _fill(disk: Path, free_bytes: int) -> Path:
    """A file that leaves so many bytes."""
    filler, left = disk / "filler", os.statvfs(disk)
    with filler.open("wb") as stream:
        os.posix_fallocate(stream.fileno(), 0, left.f_bavail * left.f_frsize - free_bytes)
    return filler


def _files(project: Path, places: tuple[str, ...] | None = None) -> dict[str, bytes]:
    roots = [project / place for place in places] if places is not None else [project]
    files = [path for root in roots for path in ([root] if root.is_file() else sorted(root.rglob("*")))]
    return {path.relative_to(project).as_posix(): path.read_bytes() for path in files if path.is_file() and path.name != ".gitignore"}


def test_every_command_of_a_stage_is_tried(project: Project) -> None:
    stages = _stages(project.folder)
    assert {stages[name].verb for name in STAGES} == {stage.verb for stage in stages.values()}


@pytest.mark.long
@pytest.mark.parametrize(("name", "share"), TRIED, ids=lambda value: value if isinstance(value, str) else f"{value:.0%}")
def test_a_stage_on_a_full_disk_is_one_line_and_the_next_run_goes_on(name: str, share: float, project: Project) -> None:
    """`share` of what its outputs need is free."""
    folder, stage = project.folder, _stages(project.folder)[name]
    expected = _files(folder, stage.outputs)
    needed = sum(-(-len(content) // BLOCK) * BLOCK for content in expected.values())
    for output in (folder / place for place in stage.outputs):
        shutil.rmtree(output) if output.is_dir() else output.unlink()
    before = _files(folder)
    filler = _fill(folder, int(needed * share) // BLOCK * BLOCK)
    try:
        code, said = project.call(stage)
    finally:
        filler.unlink()
    left = {path: content for path, content in _files(folder).items() if not path.startswith(".work/")}
    assert code == 2
    assert len(said) == 1, said
    assert "No space left on device" in said[0]
    assert "free some space, then run again" in said[0]
    new = left.keys() - before.keys()
    assert {path: left[path] for path in new} == {path: expected.get(path) for path in new}, "what was written before is whole"
    assert project.call(stage) == (0, [])
    assert _files(folder, stage.outputs) == expected
