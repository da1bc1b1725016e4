"""Scans, sets and releases are where DVC was told to keep them: pushed to a real remote, cloned, pulled, collected, in experiments."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
import yaml

from tests.documented import clone_of_the_project, run
from tests.factories import make_arrays, tiny_settings, write_nifti

pytestmark = pytest.mark.slow
LOOK = "python cli.py import /where/they/are --scan 'scan*' --vessels '*_vessels' --brain '*_brain' --dry-run"
IMPORT = "python cli.py import /where/they/are --scan 'scan*' --vessels '*_vessels' --brain '*_brain' -o data/raw/site-a"


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _params() -> str:
    split = {"train": 2, "validation": 1, "test": 1}
    nobody = {"train": 0, "validation": 0, "test": 0}
    settings = tiny_settings(cohort__site_a="data/raw/site-a", cohort__split_a=split, cohort__split_b=nobody)
    tree = settings.model_dump(mode="json", by_alias=True)
    tree["cohort"]["site_b"] = "data/none"
    return yaml.safe_dump(tree)


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lab's files, four patients."""
    folder = tmp_path_factory.mktemp("scans")
    for number in range(4):
        for ending, array in zip(("", "_brain", "_vessels"), make_arrays((40, 44, 6), number), strict=True):
            write_nifti(folder / f"scan{number}{ending}.nii.gz", array)
    return folder


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, scans: Path) -> Path:
    """docs/own-scans.md and the README followed up to the remote; nothing is staged by hand."""
    folder = clone_of_the_project(tmp_path_factory.mktemp("lab"), ["cohort", "patches"])
    run(folder, LOOK, {"/where/they/are": str(scans)})
    run(folder, IMPORT, {"/where/they/are": str(scans)})
    (folder / "staged").write_text(run(folder, "git add -A --dry-run"))
    run(folder, "dvc add data/raw/site-a")
    run(folder, "python cli.py profile quick")
    (folder / "params.yaml").write_text(_params())
    run(folder, 'git commit -m "Scans of site A"')
    run(folder, "dvc repro cohort patches")
    run(folder, "dvc remote add -d store /some/folder && dvc push", {"/some/folder": str(folder.with_name("remote"))})
    run(folder, 'git commit -a -m "A run"')
    return folder


def _digests(folder: Path) -> set[str]:
    return {hashlib.md5(content, usedforsecurity=False).hexdigest() for content in _contents(folder).values()}


def _kept(remote: Path) -> set[str]:
    return {path.parent.name + path.name for path in remote.rglob("*") if path.is_file()}


def test_nothing_of_a_patient_can_enter_git(lab: Path) -> None:
    assert (lab / "staged").read_text() == "", "before `dvc add`"
    tracked = run(lab, "git ls-files").splitlines()
    assert [name for name in tracked if name.startswith(("data/", "names/", "splits/"))] == ["data/none/README", "data/raw/site-a.dvc"]
    for name in (
        "data/raw/site-b/sub-001/anat/a.json",
        "data/scans.zip",
        "data/raw/.partial-0-0-site-b/a.nii",
        "scan.nii.gz",
        "x/P1.NII.GZ",
    ):
        (lab / name).parent.mkdir(parents=True, exist_ok=True)
        (lab / name).write_text("patient")
    try:
        assert run(lab, "git add -A --dry-run") == "add 'staged'\n"
    finally:
        for name in ("data/raw/site-b", "x"):
            shutil.rmtree(lab / name)
        for name in ("data/scans.zip", "scan.nii.gz"):
            (lab / name).unlink()


@pytest.mark.parametrize("name", ["data/raw/site-a", "data/patches/site-a", "data/cohort", "splits"])
def test_push_brings_every_file_to_the_remote(lab: Path, name: str) -> None:
    assert _digests(lab / name)
    assert _digests(lab / name) <= _kept(lab.with_name("remote"))


def test_a_clone_pulls_the_scans_and_what_rests_on_them(lab: Path, tmp_path: Path) -> None:
    run(tmp_path, f"git clone -q '{lab}' clone")
    clone = tmp_path / "clone"
    run(clone, "git pull")
    run(clone, "dvc pull data/raw/site-a")
    assert _contents(clone / "data/raw/site-a") == _contents(lab / "data/raw/site-a")
    assert not (clone / "splits").exists()
    run(clone, "dvc pull --with-deps patches")
    for name in ("data/patches", "data/cohort", "splits"):
        assert _contents(clone / name) == _contents(lab / name)


def test_collecting_garbage_never_takes_the_only_copy(lab: Path, tmp_path: Path) -> None:
    """Where the scans are links into the cache, the cache has the only copy."""
    copy = tmp_path / "lab"
    shutil.copytree(lab, copy, symlinks=True)
    before = {name: _contents(copy / name) for name in ("data/raw/site-a", "data/patches", "splits")}
    (copy / ".dvc" / "config.local").write_text("[cache]\n    type = symlink\n")
    run(copy, "dvc checkout --relink data/raw/site-a.dvc")
    assert next((copy / "data/raw/site-a").rglob("*_angio.nii.gz")).is_symlink()
    run(copy, "dvc gc --workspace --force && dvc gc --all-commits --all-experiments --force")
    assert {name: _contents(copy / name) for name in before} == before


def test_experiments_in_another_folder_have_the_scans(lab: Path) -> None:
    """With --temp, and from the queue, whose worker runs beside."""
    run(lab, "dvc exp run --queue -n queued -S cohort.seed=3 cohort")
    run(lab, "dvc queue start")
    run(lab, "dvc exp run --temp -n apart -S cohort.seed=2 cohort")
    wait = "for n in $(seq 30); do said=$(dvc queue status); case $said in *Success*|*Failed*) break; esac; sleep 1; done; echo $said"
    assert "Success" in (said := run(lab, wait)), said
    before = (lab / "splits" / "site-a.json").read_bytes()
    run(lab, "dvc exp apply NAME", {"NAME": "queued"})
    assert yaml.safe_load((lab / "params.yaml").read_text())["cohort"]["seed"] == 3
    assert (lab / "splits" / "site-a.json").read_bytes() != before
