"""Scans, sets and releases are where DVC was told to keep them: pushed to a real remote, cloned, pulled, collected, in experiments."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
import yaml

from angiosynth.settings import Settings
from tests.documented import ROOT, clone_of_the_project, run
from tests.factories import make_arrays, tiny_tree, untried, write_nifti

pytestmark = pytest.mark.slow
LOOK = "python cli.py import /where/they/are --scan 'scan*' --vessels '*_vessels' --brain '*_brain' --dry-run"
IMPORT = "python cli.py import /where/they/are --scan 'scan*' --vessels '*_vessels' --brain '*_brain' -o data/raw/site-a"


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _params() -> str:
    """One site, of scans; nothing is drawn."""
    tree = untried(tiny_tree())
    tree["phantom"] = {"sites": {}}
    tree["cohort"]["sites"] = {"site-a": {"path": "data/raw/site-a", "split": {"train": 2, "validation": 1, "test": 1}}}
    return yaml.safe_dump(Settings.model_validate(tree).model_dump(mode="json", by_alias=True))


def build(folder: Path) -> Path:
    """docs/own-scans.md and the README followed up to the remote, nothing staged by hand; then experiments in a clone. For conftest.py.

    What a command said is kept beside the lab, in a file named after the question.
    """
    scans, lab = folder / "scans", folder / "lab"
    for number in range(4):
        for ending, array in zip(("", "_brain", "_vessels"), make_arrays((40, 44, 6), number), strict=True):
            write_nifti(scans / f"scan{number}{ending}.nii.gz", array)
    lab.mkdir()
    clone_of_the_project(lab, ["cohort", "patches"])
    run(lab, LOOK, {"/where/they/are": str(scans)})
    run(lab, IMPORT, {"/where/they/are": str(scans)})
    (folder / "staged").write_text(run(lab, "git add -A --dry-run"))
    run(lab, "dvc add data/raw/site-a")
    run(lab, "python cli.py profile quick")
    (lab / "params.yaml").write_text(_params())
    run(lab, 'git commit -m "Scans of site A"')
    run(lab, "dvc repro cohort patches")
    run(lab, "dvc remote add -d store /some/folder && dvc push", {"/some/folder": str(folder / "remote")})
    run(lab, 'git commit -a -m "A run"')
    _experiments(shutil.copytree(lab, folder / "experiments", symlinks=True))
    return lab


def _experiments(copy: Path) -> None:
    """With --temp, and from the queue, whose worker runs beside."""
    run(copy, "dvc exp run --queue -n queued -S cohort.seed=3 cohort")
    run(copy, "dvc queue start")
    run(copy, "dvc exp run --temp -n apart -S cohort.seed=2 cohort")
    wait = "for n in $(seq 60); do said=$(dvc queue status); case $said in *Success*|*Failed*) break; esac; sleep 1; done; echo $said"
    (copy.parent / "queue").write_text(run(copy, wait))
    run(copy, "dvc exp apply NAME", {"NAME": "queued"})


def _digests(folder: Path) -> set[str]:
    return {hashlib.md5(content, usedforsecurity=False).hexdigest() for content in _contents(folder).values()}


def _kept(remote: Path) -> set[str]:
    return {path.parent.name + path.name for path in remote.rglob("*") if path.is_file()}


def test_nothing_of_a_patient_can_enter_git(dvc_lab: Path) -> None:
    assert (dvc_lab.parent / "staged").read_text() == "", "before `dvc add`"
    tracked = run(dvc_lab, "git ls-files").splitlines()
    assert [name for name in tracked if name.startswith(("data/", "names/", "splits/"))] == ["data/raw/site-a.dvc"]
    for name in (
        "data/raw/site-b/sub-001/anat/a.json",
        "data/scans.zip",
        "data/raw/.partial-0-0-site-b/a.nii",
        "scan.nii.gz",
        "x/P1.NII.GZ",
    ):
        (dvc_lab / name).parent.mkdir(parents=True, exist_ok=True)
        (dvc_lab / name).write_text("patient")
    try:
        assert run(dvc_lab, "git add -A --dry-run") == ""
    finally:
        for name in ("data/raw/site-b", "x"):
            shutil.rmtree(dvc_lab / name)
        for name in ("data/scans.zip", "scan.nii.gz"):
            (dvc_lab / name).unlink()


@pytest.mark.long
def test_one_site_that_nobody_drew_is_a_whole_pipeline(dvc_lab: Path, tmp_path: Path) -> None:
    """Neither a phantom nor a target of transfer: DVC reads all stages, and the transfer's tables are there and empty."""
    lab = tmp_path / "lab"
    shutil.copytree(dvc_lab, lab, symlinks=True)
    shutil.copy(ROOT / "dvc.yaml", lab)
    listed = run(lab, "dvc stage list --name-only").split()
    assert {"cohort@site-a", "patches@site-a", "transfer", "transfer-real", "summary", "report"} <= set(listed)
    assert not [name for name in listed if name.startswith("phantom") or name.endswith("site-b")]
    assert "there is no other site, the table stays empty" in run(lab, "python cli.py transfer --start scratch")
    assert (lab / "metrics" / "transfer" / "scratch.csv").read_text().count("\n") == 1


@pytest.mark.parametrize("name", ["data/raw/site-a", "data/patches/site-a", "data/cohort", "splits"])
def test_push_brings_every_file_to_the_remote(dvc_lab: Path, name: str) -> None:
    assert _digests(dvc_lab / name)
    assert _digests(dvc_lab / name) <= _kept(dvc_lab.with_name("remote"))


def test_a_clone_pulls_the_scans_and_what_rests_on_them(dvc_lab: Path, tmp_path: Path) -> None:
    run(tmp_path, f"git clone -q '{dvc_lab}' clone")
    clone = tmp_path / "clone"
    run(clone, "git pull")
    run(clone, "dvc pull data/raw/site-a")
    assert _contents(clone / "data/raw/site-a") == _contents(dvc_lab / "data/raw/site-a")
    assert not (clone / "splits").exists()
    run(clone, "dvc pull --with-deps patches")
    for name in ("data/patches", "data/cohort", "splits"):
        assert _contents(clone / name) == _contents(dvc_lab / name)


@pytest.mark.long
def test_collecting_garbage_never_takes_the_only_copy(dvc_lab: Path, tmp_path: Path) -> None:
    """Where the scans are links into the cache, the cache has the only copy."""
    copy = tmp_path / "lab"
    shutil.copytree(dvc_lab, copy, symlinks=True)
    before = {name: _contents(copy / name) for name in ("data/raw/site-a", "data/patches", "splits")}
    (copy / ".dvc" / "config.local").write_text("[cache]\n    type = symlink\n")
    run(copy, "dvc checkout --relink data/raw/site-a.dvc")
    assert next((copy / "data/raw/site-a").rglob("*_angio.nii.gz")).is_symlink()
    run(copy, "dvc gc --workspace --force && dvc gc --all-commits --all-experiments --force")
    assert {name: _contents(copy / name) for name in before} == before


def test_experiments_in_another_folder_have_the_scans(dvc_lab: Path) -> None:
    """Those of --temp and of the queue: a site that they missed would end them."""
    assert "Success" in (dvc_lab.parent / "queue").read_text()
    copy = dvc_lab.parent / "experiments"
    assert yaml.safe_load((copy / "params.yaml").read_text())["cohort"]["seed"] == 3
    assert (copy / "splits" / "site-a.json").read_bytes() != (dvc_lab / "splits" / "site-a.json").read_bytes()
