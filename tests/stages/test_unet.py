"""Stages train-unet and evaluate."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest

from angiosynth.data.cohort import load_split
from angiosynth.data.nifti import read_volume
from angiosynth.errors import InputError
from angiosynth.evaluation.metrics import dsc
from angiosynth.evaluation.patients import read_scores
from angiosynth.runtime.output import read_json
from angiosynth.runtime.recorder import NullRecorder
from angiosynth.stages.unet import evaluate, fit_unet
from angiosynth.stages.workspace import Workspace
from tests.stages.conftest import SETTINGS


def test_a_unet_is_chosen_kept_and_scored(home: Workspace) -> None:
    trained = fit_unet(SETTINGS, home, "real", NullRecorder())
    facts = read_json(home.unet("real") / "unet.json")
    assert (facts["data"], facts["n_patches"], facts["step"], facts["val_dsc"]) == ("real", 80, trained.step, trained.scores["val_dsc"])
    evaluate(SETTINGS, home, "real")
    (patient,) = load_split(home.splits, "site-a").test
    (row,) = read_scores(Path("metrics/patients/real.csv"))
    found = read_volume(home.predictions("real") / f"{patient}.nii.gz").array > 0.5
    (scan,) = home.scans(SETTINGS, "site-a", [patient])
    assert row.patient == patient
    assert row.dsc == pytest.approx(dsc(scan.truth, found))
    np.testing.assert_array_equal(found, trained.segmenter.segment(scan.image, scan.brain))


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
