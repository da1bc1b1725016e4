"""The whole pipeline once, from drawn heads to the report, as a user runs it: DVC, one process a stage, MLflow, a remote.

One generator, in the place of a shipped one of its kind, and a third site are there by params.yaml alone. One generator's branch is
recorded by MLflow, the others run with ANGIOSYNTH_TRACKING=off, since a record takes a stage seconds. `repro` runs all stages in forks of a
warm process. What each stage opens is written down, for test_dependencies.py.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from dvc.repo import Repo

from angiosynth.data.patches import open_patch_set
from angiosynth.data.split import load_split
from tests.documented import run as typed
from tests.factories import changed, full_params, tiny_tree
from tests.pipeline import write_project

nib: Any = nibabel
ROOT = Path(__file__).resolve().parents[1]
WIDE, THIRD = "wgan-gp-sn-wide", "site-c"  # params.yaml alone knows them
GENERATORS = ("wgan-gp", WIDE)  # two, since each more takes six stages; tests/stages/test_kinds.py has every kind
TRAINING_DATA = ("real", *GENERATORS)
STARTS = ("scratch", *TRAINING_DATA)
SITES = ("site-a", "site-b", THIRD)
TARGETS = SITES[1:]
RECORDED = "wgan-gp"
RECORDING = (
    f"train-generator --model {RECORDED}",
    *(f"{verb} --data {data}" for verb in ("train-unet", "evaluate") for data in ("real", RECORDED)),
    f"transfer --start {RECORDED}",
)
TRAININGS = {"train-unet", *(f"train-unet-synthetic@{name}" for name in GENERATORS)}
pytestmark = pytest.mark.slow


def _environment() -> dict[str, str]:
    # PYTHONDONTWRITEBYTECODE too: all stages would compile the project's code, which is a copy.
    others = ("MLFLOW_", "DVC_", "ANGIOSYNTH_", "GIT_", "PYTHONDONTWRITE")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    own = Path(sys.executable).parent  # dvc.yaml says `python`: this one
    quiet = {"DVC_NO_ANALYTICS": "1", "MLFLOW_DISABLE_TELEMETRY": "true", "OMP_NUM_THREADS": "1"}
    paths = {"PYTHONPATH": f"{ROOT / 'tests' / 'recorded'}{os.pathsep}src", "PATH": f"{own}{os.pathsep}{os.environ['PATH']}"}
    return {**kept, **quiet, **paths}


def _run(folder: Path, *words: str, **variables: str) -> str:
    # Umask 0: what is closed all the same is so whatever the user's.
    done = subprocess.run(words, cwd=folder, env=_environment() | variables, umask=0, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout + done.stderr


def _dvc(folder: Path, *words: str, **variables: str) -> str:
    return _run(folder, sys.executable, "-m", "dvc", *words, **variables)


def _tree(**values: Any) -> dict[str, Any]:
    """The tiny settings with one more generator, which shares the defaults, one more site, of another scanner, and a head held out."""
    tree = changed(tiny_tree(), {"synthesis__labels": "unet", **values})
    plain, replaced = tree["generators"]["wgan-gp"], tree["generators"]["wgan-gp-sn"]
    tree["generators"] = {"wgan-gp": plain, WIDE: {**replaced, "width": 6, "steps": 2}}
    tree["phantom"]["sites"][THIRD] = {**tree["phantom"]["sites"]["site-b"], "spacing_mm": [2.0, 2.4, 2.4], "noise": 0.1}
    tree["cohort"]["sites"][THIRD] = {"path": f"data/phantom/{THIRD}", "split": {"train": 1, "validation": 1, "test": 2}}
    tree["phantom"]["sites"]["site-a"]["unlabelled"] = tree["cohort"]["sites"]["site-a"]["split"]["held_out"] = 1
    return tree


def _params(**values: Any) -> str:
    return full_params(_tree(**values))


def opened_by(reproduced: Path) -> dict[str, set[str]]:
    """Command -> the project's files that its runs have read."""
    opened: dict[str, set[str]] = {}
    for path in reproduced.with_name(f"{reproduced.name}-opened").glob("*.json"):
        facts = json.loads(path.read_text())
        files = [Path(name) for name in facts["opened"] if Path(name).is_file()]
        inside = {file.relative_to(reproduced).as_posix() for file in files if file.is_relative_to(reproduced)}
        opened.setdefault(facts["command"], set()).update(inside)
    return opened


def build(folder: Path) -> Path:
    """A copy of the repository with a tiny params.yaml, reproduced once. conftest.py calls it beside the other tests."""
    write_project(folder, _params(), _environment())
    noted = {"OPENED_FILES": str(folder.with_name(f"{folder.name}-opened")), "RECORDING": "\n".join(RECORDING)}
    said = _run(folder, sys.executable, "cli.py", "repro", ANGIOSYNTH_TRACKING="off", **noted)
    folder.with_name(f"{folder.name}-said").write_text(said)
    return folder


def test_every_stage_leaves_its_files(reproduced: Path) -> None:
    wanted = ["report/index.html", "metrics/evaluation.json", "metrics/transfer.json", "predictions/threshold/threshold.json"]
    wanted += ["metrics/evaluation.csv", "metrics/worth.json", "models/unet-choice.json"]
    for site in SITES:
        wanted += [f"splits/{site}.json", f"data/cohort/{site}.json"]
        wanted += [f"data/patches/{site}/{name}" for name in ("image.npy", "label.npy", "index.csv", "set.json")]
    for model in GENERATORS:
        wanted += [
            f"models/generators/{model}/{name}"
            for name in ("generator.pt", "critic.pt", "generator.json", "curve.csv", "samples.png", "progress.png")
        ]
        wanted += [f"audit/{model}/{name}" for name in ("audit.json", "index.html", "gallery.png", "scores.png", "shared/audit.json")]
        wanted += [f"data/synthetic/{model}/{name}" for name in ("image.npy", "label.npy", "card.json", "contact.png")]
    for data in TRAINING_DATA:
        wanted += [f"models/unet/{data}/{name}" for name in ("unet.pt", "unet.json", "curve.csv")]
    wanted += [f"metrics/patients/{data}.csv" for data in (*TRAINING_DATA, "threshold")]
    wanted += [f"metrics/transfer/{start}.csv" for start in STARTS]
    wanted += [f"metrics/worth/{data}.csv" for data in TRAINING_DATA]
    assert [name for name in wanted if not (reproduced / name).is_file() or not (reproduced / name).stat().st_size] == []
    assert list(reproduced.rglob(".partial-*")) == []
    assert list((reproduced / ".work").rglob("*.ckpt")) == []  # resume files go when a stage is done


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="the warm process needs Linux")
def test_all_stages_are_forks_of_a_warm_process(reproduced: Path) -> None:
    records = [json.loads(path.read_text()) for path in reproduced.with_name(f"{reproduced.name}-opened").glob("*.json")]
    commands, forked = {record["command"] for record in records}, {record["command"] for record in records if record["forked"]}
    assert len(commands) > 20
    assert commands - forked == {"python cli.py repro"}  # a command whose fork does its work is in both


def test_time_left_over_all_stages_is_said(reproduced: Path) -> None:
    said = reproduced.with_name(f"{reproduced.name}-said").read_text().splitlines()
    (first,) = [line for line in said if re.match(r"\d+ stages, about ", line)]
    places = [int(line.split()[1]) for line in said if re.match(r"stage \d+ of \d+, about .* left for all", line)]
    assert places == list(range(1, int(first.split()[0]) + 1))


def test_the_evaluation_holds_all_trainings(reproduced: Path) -> None:
    evaluation = json.loads((reproduced / "metrics" / "evaluation.json").read_text())
    for data in (*TRAINING_DATA, "threshold"):
        row = evaluation[data]
        assert set(row) >= {"dsc", "dsc_low", "dsc_high", "hd95_mm", "hd_mm", "assd_mm", "n_patients", "n_empty", "val_dsc", "val_hd95_mm"}
        assert 0 <= row["dsc_low"] <= row["dsc"] <= row["dsc_high"] <= 1
        assert row["n_patients"] == 1
        with (reproduced / "metrics" / "patients" / f"{data}.csv").open() as stream:
            assert [float(line["dsc"]) for line in csv.DictReader(stream)] == [pytest.approx(row["dsc"], abs=1e-12)]
    assert -1 < evaluation["threshold"]["threshold"] < 1
    assert evaluation["threshold"]["dsc"] > 0.3  # arteries are bright: the plain baseline finds much of them
    assert evaluation["chosen_by_validation"] == max(GENERATORS, key=lambda model: evaluation[model]["val_dsc"])
    assert set(evaluation["ratio_to_real"]) == set(GENERATORS)
    assert evaluation["generators"] == list(GENERATORS)
    with (reproduced / "metrics" / "evaluation.csv").open() as stream:
        lines = {line["trained_on"]: line for line in csv.DictReader(stream)}
    assert {name: float(line["dsc"]) for name, line in lines.items()} == {
        name: pytest.approx(evaluation[name]["dsc"], abs=1e-12) for name in (*TRAINING_DATA, "threshold")
    }


def test_each_set_was_joined_with_the_patches_of_one_patient(reproduced: Path) -> None:
    worth = json.loads((reproduced / "metrics" / "worth.json").read_text())
    assert set(worth["together"]) == set(worth["sets"]) == set(GENERATORS)
    for points in worth["together"].values():
        gain = points["1"]["dsc"] - worth["curve"]["1"]["dsc"]
        assert points["1"]["dsc_gain"] == pytest.approx(gain, abs=1e-12)


def test_the_transfer_holds_all_sites_and_starts(reproduced: Path) -> None:
    transfer = json.loads((reproduced / "metrics" / "transfer.json").read_text())
    assert set(transfer) == set(TARGETS)
    splits = {site: load_split(reproduced / "splits", site) for site in TARGETS}
    for start in STARTS:
        with (reproduced / "metrics" / "transfer" / f"{start}.csv").open() as stream:
            rows = {(row["site"], row["patient"]): row for row in csv.DictReader(stream)}
        assert set(rows) == {(site, patient) for site in TARGETS for patient in splits[site].test}
        assert all(row["trained_on"] in splits[site].train for (site, _), row in rows.items())
        for site in TARGETS:
            assert set(transfer[site]) == set(STARTS)
            assert set(transfer[site][start]) == {"1"}
            point = transfer[site][start]["1"]
            assert set(point) >= {"dsc", "hd95_mm", "dsc_low", "dsc_high"}
            own = [float(row["dsc"]) for (where, _), row in rows.items() if where == site]
            assert point["dsc"] == pytest.approx(np.mean(own))
            if start != "scratch":
                assert point["dsc_gain"] == pytest.approx(point["dsc"] - transfer[site]["scratch"]["1"]["dsc"])


def test_a_generator_in_params_yaml_alone_has_its_own_size_and_the_shared_values(reproduced: Path) -> None:
    facts = {model: json.loads((reproduced / "models" / "generators" / model / "generator.json").read_text()) for model in GENERATORS}
    assert (facts[WIDE]["kind"], facts[WIDE]["step"]) == ("wgan-gp-sn", 2)
    weights = {model: torch.load(reproduced / "models" / "generators" / model / "generator.pt") for model in ("wgan-gp", WIDE)}
    widths = {model: sum(tensor.numel() for tensor in tensors.values()) for model, tensors in weights.items()}
    assert 1.4 < widths[WIDE] / widths["wgan-gp"] < 2.5  # of channels 6 and 4: weights between two maps go with the square, others do not
    page = (reproduced / "report" / "index.html").read_text()
    assert page.count(WIDE) > 5
    assert THIRD in page
    audit = json.loads((reproduced / "audit" / WIDE / "audit.json").read_text())
    assert (audit["model"], audit["n_synthetic"], audit["n_audited"]) == (WIDE, 24, 20)
    assert audit["patients"] == {"training": 2, "validation": 1, "test": 1, "held_out": 1, "held_out_labelled": 0}


@pytest.mark.long
def test_it_is_searched_by_its_name(reproduced: Path) -> None:
    """In so few steps the trial's U-net may find no vessel, which is a result too."""
    try:
        assert "study wide: 1 trials" in typed(reproduced, f"python cli.py sweep --model {WIDE} --trials 1 --study wide")
        found = json.loads((reproduced / "sweeps" / "wide.json").read_text())
    finally:
        (reproduced / "sweeps" / "wide.json").unlink(missing_ok=True)
    (trial,) = found["trials"]
    assert found["model"] == WIDE
    assert trial["state"] in {"complete", "fail"}
    assert "gradient_penalty_weight" in trial["params"]


def test_predictions_lie_in_the_scans_grid(reproduced: Path) -> None:
    split = load_split(reproduced / "splits", "site-a")
    (patient,) = split.test
    (path,) = (reproduced / "data" / "phantom" / "site-a" / patient).rglob("*_angio.nii.gz")
    scan = nib.load(path)
    for data in (*TRAINING_DATA, "threshold"):
        found = nib.load(reproduced / "predictions" / data / f"{patient}.nii.gz")
        assert found.shape == scan.shape
        np.testing.assert_allclose(found.affine, scan.affine, atol=1e-6)
        assert set(np.unique(np.asanyarray(found.dataobj))) <= {0, 1}


def test_synthetic_sets_are_as_ordered(reproduced: Path) -> None:
    for model in GENERATORS:
        patches = open_patch_set(reproduced / "data" / "synthetic" / model)
        assert patches.image.shape == (24, 16, 16)
        assert patches.label.max() <= 1
        assert patches.meta["model"] == model


def test_only_training_patients_are_cut(reproduced: Path) -> None:
    for site in SITES:
        patches = open_patch_set(reproduced / "data" / "patches" / site)
        assert set(patches.patient) == set(load_split(reproduced / "splits", site).train)


def test_the_report_stands_alone(reproduced: Path) -> None:
    page = (reproduced / "report" / "index.html").read_text()
    assert "24, labelled by the U-net on real patches: wgan-gp, " in page
    assert "data:image/png;base64," in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert str(reproduced) not in page


def test_runs_carry_validation_and_test_scores(reproduced: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{reproduced}/mlruns/mlflow.db")
    ids = {experiment.name: experiment.experiment_id for experiment in client.search_experiments()}
    experiments = ("generator", "unet", "transfer")
    runs = {name: {run.data.tags["mlflow.runName"]: run for run in client.search_runs([ids[name]])} for name in experiments}
    parents = {site: f"transfer {RECORDED} {site}" for site in TARGETS}
    children = {site: f"transfer {RECORDED} {site} 1-patients-0" for site in TARGETS}
    assert {name: set(found) for name, found in runs.items()} == {
        "generator": {RECORDED},
        "unet": {"unet real", f"unet {RECORDED}"},
        "transfer": {*parents.values(), *children.values()},
    }
    evaluation = json.loads((reproduced / "metrics" / "evaluation.json").read_text())
    for run, data in (
        (runs["generator"][RECORDED], RECORDED),
        (runs["unet"][f"unet {RECORDED}"], RECORDED),
        (runs["unet"]["unet real"], "real"),
    ):
        assert run.data.metrics["val_dsc"] == pytest.approx(evaluation[data]["val_dsc"])
        assert run.data.metrics["test_dsc"] == pytest.approx(evaluation[data]["dsc"])
    transfer = json.loads((reproduced / "metrics" / "transfer.json").read_text())
    for site in TARGETS:
        child = runs["transfer"][children[site]]
        assert child.data.metrics["test_dsc"] == pytest.approx(transfer[site][RECORDED]["1"]["dsc"])
        assert "val_dsc" in child.data.metrics
        assert child.data.tags["mlflow.parentRunId"] == runs["transfer"][parents[site]].info.run_id
    assert {run.info.status for found in runs.values() for run in found.values()} == {"FINISHED"}
    scored_on = {(run.data.tags["validation_scans"], run.data.tags["drawn_scans"]) for run in runs["unet"].values()}
    assert [drawn for _, drawn in scored_on] == ["yes"], "all U-nets are validated on the same scans"
    assert str(client.get_registered_model("unet-real").aliases["champion"]) == "1"


def _stale(project: Path) -> set[str]:
    """Stages that DVC would run: `dvc status`, here and not in a process that would import DVC anew."""
    with Repo(str(project)) as repo:
        return {address.rpartition(":")[2] for address in repo.status()}


def _reproduced(project: Path, *, dry: bool = False) -> list[str]:
    """Commands that `dvc repro` runs, called in this process for the same reason."""
    with contextlib.chdir(project), Repo() as repo:
        return [str(stage.cmd) for stage in repo.reproduce(dry=dry)]


def test_nothing_is_left_to_do(reproduced: Path) -> None:
    assert _stale(reproduced) == set()
    assert _reproduced(reproduced) == []


def test_a_unets_rate_reruns_no_generator(reproduced: Path) -> None:
    params = reproduced / "params.yaml"
    before = params.read_text()
    params.write_text(_params(unet__learning_rate=1.5e-3))
    try:
        stale = _stale(reproduced)
        dry = _reproduced(reproduced, dry=True)
    finally:
        params.write_text(before)
    assert stale >= TRAININGS
    assert not {name for name in stale if name.startswith(("phantom", "cohort", "patches", "train-generator", "synthesize"))}
    for untouched in ("phantom", "train-generator", "synthesize", "evaluate --data threshold", "transfer --start scratch"):
        assert not [command for command in dry if command.startswith(f"python cli.py {untouched}")]
    assert {"python cli.py select-unet", "python cli.py train-unet --data real"} <= set(dry)


def test_more_seeds_ask_for_no_other_choice(reproduced: Path) -> None:
    params = reproduced / "params.yaml"
    before = params.read_text()
    params.write_text(_params(unet__seeds=2))
    try:
        stale = _stale(reproduced)
    finally:
        params.write_text(before)
    assert stale >= TRAININGS
    assert "select-unet" not in stale


@pytest.mark.long
def test_a_sweep_is_shown_by_the_report(reproduced: Path) -> None:
    study = {"study": "mine", "model": RECORDED, "front": [0], "knee": 0, "hypervolume": [[0, 0.1]], "importances": {}}
    trial = {"number": 0, "state": "complete", "reason": "", "val_dsc": 0.625, "val_hd95_mm": 7.75, "params": {"critic_iterations": 3}}
    path = reproduced / "sweeps" / "mine.json"
    path.write_text(json.dumps({**study, "trials": [trial]}))
    try:
        assert _stale(reproduced) == {"report"}
        _dvc(reproduced, "repro", "report")
        page = (reproduced / "report" / "index.html").read_text()
    finally:
        path.unlink()
    assert "study mine" in page
    assert "0.625" in page
    assert (reproduced / "report" / "figures" / "sweeps" / "mine" / "front.png").is_file()


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.long
def test_sets_and_releases_go_to_the_remote_and_come_back(reproduced: Path, tmp_path: Path) -> None:
    """The whole pipeline's: everything that a stage writes, and a package under releases/. In the clone files are links into the cache."""
    places = {"NAME": "vessels-1", "KEY": str(tmp_path / "key"), "/some/folder": str(tmp_path / "remote")}
    typed(reproduced, "ssh-keygen -q -t ed25519 -N '' -f KEY", places)
    release = "python cli.py release NAME --model wgan-gp --sign-key KEY --override 'a test'"
    typed(reproduced, release.replace("wgan-gp", WIDE), places)
    typed(reproduced, "dvc add releases/NAME", places)
    try:
        typed(reproduced, 'git add -A && git commit -q -m "A run"')
        typed(reproduced, "dvc remote add -d store /some/folder && dvc push", places)
        typed(tmp_path, f"git clone -q '{reproduced}' clone")
        clone = tmp_path / "clone"
        (clone / ".dvc" / "config.local").write_text("[cache]\n    type = symlink\n")
        typed(clone, "dvc remote add -f -d store /some/folder && dvc pull --with-deps report", places)
        typed(clone, "dvc pull releases/NAME", places)
        assert (clone / "data" / "synthetic" / WIDE / "image.npy").is_symlink()
        typed(clone, "dvc gc --workspace --force")
        names = [f"data/{name}" for name in ("phantom", "patches", "synthetic", "cohort")]
        names += ["splits", "models", "predictions", "metrics", "report", "audit", "releases"]
        assert {name: _contents(clone / name).keys() ^ _contents(reproduced / name).keys() for name in names} == {
            name: set() for name in names
        }
        assert all(_contents(clone / name) == _contents(reproduced / name) for name in names)
        assert typed(reproduced, "git ls-files releases") == "releases/vessels-1.dvc\n"
    finally:
        (reproduced / "releases" / "vessels-1.dvc").unlink()
        shutil.rmtree(reproduced / "releases" / "vessels-1")
        typed(reproduced, "dvc remote remove store")
        (reproduced / ".dvc" / "config.local").unlink(missing_ok=True)  # which that leaves, empty


@pytest.mark.long
def test_what_the_readme_has_users_type(reproduced: Path, tmp_path: Path) -> None:
    patient = next((reproduced / "data" / "phantom" / "site-a").glob("sub-*"))
    for name, pattern in (("scan.nii.gz", "*_angio.nii.gz"), ("brain.nii.gz", "*_desc-brain_mask.nii.gz")):
        shutil.copy(next(patient.rglob(pattern)), reproduced / name)
    try:
        command = "python cli.py segment scan.nii.gz -o vessels.nii.gz --mask brain.nii.gz"
        assert "vessel voxels" in typed(reproduced, command)
        assert "vessels.nii.gz: is there already" in typed(reproduced, command, code=2)
    finally:
        for name in ("scan.nii.gz", "brain.nii.gz", "vessels.nii.gz", "vessels.png"):
            (reproduced / name).unlink(missing_ok=True)
    typed(reproduced, "dvc metrics diff")
    assert "plots" in typed(reproduced, "dvc plots show")
