"""Stages train-unet and evaluate."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from angiosynth.data.nifti import read_volume
from angiosynth.data.split import load_split
from angiosynth.errors import InputError
from angiosynth.evaluation.patients import read_scores
from angiosynth.metrics.segmentation import dsc
from angiosynth.project.workspace import Workspace, seeds_of, validation_over_seeds
from angiosynth.runtime.output import read_json, write_json
from angiosynth.runtime.recorder import ListRecorder, NullRecorder
from angiosynth.segmentation.storage import load_segmenter
from angiosynth.settings import Settings
from angiosynth.stages import train_unet as stage
from angiosynth.stages.evaluate import evaluate
from angiosynth.stages.select_unet import select_unet
from angiosynth.stages.train_unet import fit_unet, train_unet
from angiosynth.tracking import runs as tracking
from angiosynth.tracking.runs import RunSpec
from tests.factories import lab_settings
from tests.stages.conftest import SETTINGS

FILES = {"unet.pt", "unet.json", "curve.csv"}


class Interrupted(Exception):  # noqa: N818 -- stands for a kill
    """The stage stops here."""


def _with(**values: Any) -> Settings:
    return lab_settings(**values)


def _bytes(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_unet_is_chosen_kept_and_scored(home: Workspace) -> None:
    trained = fit_unet(SETTINGS, home, "real", NullRecorder())
    facts = read_json(home.unet("real") / "unet.json")
    assert (facts["data"], facts["n_patches"], facts["step"], facts["val_dsc"]) == ("real", 80, trained.step, trained.scores["val_dsc"])
    split = read_json(home.splits / "site-a.json")
    write_json(home.splits / "site-a.json", split | {"held_out": ["sub-09"]})
    shutil.copytree(Path("lab/a/sub-01"), Path("lab/a/sub-09"))
    for path in Path("lab/a/sub-09/anat").iterdir():
        path.rename(path.with_name(path.name.replace("sub-01", "sub-09")))
    Path("lab/a/sub-09/anat/sub-09_desc-vessel_mask.nii.gz").unlink()
    evaluate(SETTINGS, home, "real")
    assert (home.predictions("real") / "sub-09.nii.gz").is_file()  # without a label it can be segmented, not scored
    (patient,) = load_split(home.splits, "site-a").test
    (row,) = read_scores(Path("metrics/patients/real.csv"))
    result = read_volume(home.predictions("real") / f"{patient}.nii.gz").array > 0.5
    (scan,) = home.scans(SETTINGS, "site-a", [patient])
    assert row.patient == patient
    assert row.dsc == pytest.approx(dsc(scan.truth, result))
    np.testing.assert_array_equal(result, trained.segmenter.segment(scan.image, scan.brain))


def test_the_threshold_is_picked_on_training_patients_alone(home: Workspace) -> None:
    evaluate(SETTINGS, home, "threshold")
    picked = read_json(home.predictions("threshold") / "threshold.json")
    assert set(picked) == {"threshold", "val_dsc", "val_hd95_mm"}
    assert picked["val_dsc"] > 0.5  # tubes are bright in these scans
    split = load_split(home.splits, "site-a")
    (other,) = split.test  # another scan under the test patient's name changes its score, never the threshold
    shutil.rmtree(Path("lab/a") / other)
    shutil.copytree(Path("lab/b") / other, Path("lab/a") / other)
    before = read_scores(Path("metrics/patients/threshold.csv"))
    evaluate(SETTINGS, home, "threshold")
    assert read_json(home.predictions("threshold") / "threshold.json") == picked
    assert read_scores(Path("metrics/patients/threshold.csv")) != before


def test_a_missing_unet_is_one_line_and_leaves_nothing(home: Workspace) -> None:
    with pytest.raises(InputError, match="models/unet/dcgan") as caught:
        evaluate(SETTINGS, home, "dcgan")
    assert "\n" not in str(caught.value)
    assert not home.predictions("dcgan").exists()
    assert not list(Path().rglob(".partial-*"))


def test_a_patient_that_is_gone_is_one_line(home: Workspace) -> None:
    (patient,) = load_split(home.splits, "site-a").validation
    shutil.rmtree(Path("lab/a") / patient)
    with pytest.raises(InputError, match=f"patient {patient} of splits/site-a.json is not there"):
        fit_unet(SETTINGS, home, "real", NullRecorder())


def test_the_curve_is_a_table_by_step(home: Workspace) -> None:
    fit_unet(SETTINGS, home, "real", NullRecorder())
    with (home.unet("real") / "curve.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["step"] for row in rows] == ["2", "4"]
    assert rows[0]["loss"] == ""
    assert float(rows[1]["loss"]) > 0
    assert all(row["val_dsc"] for row in rows)


def test_one_seed_leaves_the_files_of_one_training(home: Workspace) -> None:
    train_unet(SETTINGS, home, "real")
    once = _bytes(home.unet("real"))
    assert set(once) == FILES
    fit_unet(SETTINGS, home, "real", NullRecorder())
    assert _bytes(home.unet("real")) == once
    assert not list(Path(".work").rglob("*.pt"))


def test_every_seed_is_trained_kept_and_scored(home: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    fit, scores = stage.fit_unet, {1: 0.3, 2: 0.8, 3: 0.4}

    def scored(settings: Settings, home: Workspace, data: str, recorder: Any, folder: Path, *rest: Any) -> Any:
        trained = fit(settings, home, data, recorder, folder, *rest)
        write_json(folder / "unet.json", {**read_json(folder / "unet.json"), "val_dsc": scores[settings.unet.seed], "val_hd95_mm": 2.0})
        return trained

    monkeypatch.setattr(stage, "fit_unet", scored)
    settings = _with(unet__seeds=3)
    train_unet(settings, home, "real")
    folders = seeds_of(home.unet("real"))
    assert list(folders.items()) == [(2, home.unet("real")), *((n, home.unet("real") / f"seed-{n}") for n in (1, 3))]  # validation chose 2
    assert set(_bytes(home.unet("real"))) == FILES | {f"seed-{n}/{name}" for n in (1, 3) for name in FILES}
    result = validation_over_seeds(home.unet("real"))
    assert result == pytest.approx({"val_dsc": 0.5, "val_hd95_mm": 2.0, "val_dsc_seed_sd": np.std([0.3, 0.8, 0.4], ddof=1)})
    monkeypatch.setattr(stage, "fit_unet", fit)
    alone = fit_unet(_with(unet__seed=3), home, "real", NullRecorder(), Path("alone")).segmenter.unet.state_dict()
    kept = load_segmenter(folders[3]).unet.state_dict()
    assert all(np.array_equal(kept[name], alone[name]) for name in alone)
    evaluate(settings, home, "real")
    rows = read_scores(Path("metrics/patients/real.csv"))
    (patient,) = load_split(home.splits, "site-a").test
    assert [(row.patient, row.seed) for row in rows] == [(patient, 2), (patient, 1), (patient, 3)]
    (scan,) = home.scans(settings, "site-a", [patient])
    for row in rows:
        own = load_segmenter(folders[row.seed]).segment(scan.image, scan.brain)
        assert row.dsc == pytest.approx(dsc(scan.truth, own))
    kept_mask = read_volume(home.predictions("real") / f"{patient}.nii.gz").array > 0.5
    np.testing.assert_array_equal(kept_mask, load_segmenter(home.unet("real")).segment(scan.image, scan.brain))


def test_seeds_that_were_stopped_go_on(home: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    settings = _with(unet__seeds=3)
    train_unet(settings, home, "real")
    undisturbed = _bytes(home.unet("real"))
    shutil.rmtree(home.unet("real"))
    fit, trained = stage.fit_unet, list[int]()

    def stopped(settings: Settings, *parts: Any) -> Any:
        trained.append(settings.unet.seed)
        if trained == [1, 2]:
            raise Interrupted
        return fit(settings, *parts)

    monkeypatch.setattr(stage, "fit_unet", stopped)
    with pytest.raises(Interrupted):
        train_unet(settings, home, "real")
    assert not home.unet("real").exists()
    train_unet(settings, home, "real")
    assert trained == [1, 2, 2, 3]
    assert "seed 1 is there already" in capsys.readouterr().err
    assert _bytes(home.unet("real")) == undisturbed


def test_the_chosen_settings_train(home: Workspace) -> None:
    select_unet(_with(selection={"dropout": [0.25]}), home)
    train_unet(SETTINGS, home, "real")
    assert read_json(home.unet("real") / "unet.json")["dropout"] == 0.25


def test_a_unet_of_no_seed_is_one_line(home: Workspace) -> None:
    facts = {"width": 2, "dropout": 0.0, "mean": -0.5, "deviation": 0.4, "precision": "float32"}
    write_json(home.unet("real") / "unet.json", facts)
    with pytest.raises(InputError, match=r"unet\.json: damaged, tells no seed") as caught:
        evaluate(SETTINGS, home, "real")
    assert "\n" not in str(caught.value)


class Noted(ListRecorder):
    """Stands for an MLflow run."""

    def __init__(self, name: str, parent: str | None, lineage: bool) -> None:
        super().__init__()
        self.id, self.parent, self.lineage = f"id of {name}", parent, lineage
        self.last, self.tags, self.models = dict[str, float](), dict[str, str](), list[str]()

    def final(self, values: dict[str, float]) -> None:
        self.last |= values

    def tag(self, key: str, value: str) -> None:
        self.tags[key] = value

    def log_model(self, _network: Any, _example: Any, *, name: str, register: str) -> None:
        self.models += [name, register]


def test_runs_of_a_grid_and_of_seeds_lie_under_their_parents(home: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: dict[str, Noted] = {}

    @contextmanager
    def noted(spec: RunSpec, *, lineage: bool = True, **_facts: Any) -> Iterator[Noted]:
        yield runs.setdefault(spec.name, Noted(spec.name, spec.parent, lineage))

    monkeypatch.setattr(stage, "training_run", noted)
    monkeypatch.setattr(tracking, "training_run", noted)
    settings = _with(unet__seeds=2, selection={"dropout": [0.0, 0.25]})
    select_unet(settings, home)
    train_unet(settings, home, "real")
    points = [f"learning_rate 0.001, dropout {value}, augmentation on" for value in ("0", "0.25")]
    seeds = [f"unet real seed {seed}" for seed in (1, 2)]
    assert set(runs) == {"select-unet", *points, "unet real", *seeds}
    for parent, children in (("select-unet", points), ("unet real", seeds)):
        assert [name for name, run in runs.items() if run.parent == f"id of {parent}"] == children
    assert [name for name, run in runs.items() if run.lineage] == ["select-unet", "unet real"]
    assert runs["select-unet"].tags["chosen.dropout"] == str(read_json(home.unet_choice)["dropout"])
    assert runs["select-unet"].last["val_dsc"] == max(runs[name].last["val_dsc"] for name in points)
    assert runs["unet real"].last["val_dsc"] == pytest.approx(np.mean([runs[name].last["val_dsc"] for name in seeds]))
    assert runs["unet real"].models == ["unet", "unet-real"]
    assert [path.parent for path, _ in runs["unet real"].files] == [home.unet("real")] * 2
    assert all(runs[name].rows and not runs[name].models for name in seeds)


def test_one_seed_is_one_run(home: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[Noted] = []

    @contextmanager
    def noted(spec: RunSpec, **_facts: Any) -> Iterator[Noted]:
        begun.append(Noted(spec.name, None, True))
        yield begun[-1]

    monkeypatch.setattr(stage, "training_run", noted)
    train_unet(SETTINGS, home, "real")
    (run,) = begun
    assert any("loss" in values for _, values in run.rows)
    assert run.last == {name: read_json(home.unet("real") / "unet.json")[name] for name in ("val_dsc", "val_hd95_mm")}
