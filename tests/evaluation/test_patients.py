"""Tables survive the disk to the last digit; means and intervals are checked by hand and by brute force."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from angiosynth.errors import InputError
from angiosynth.evaluation.metrics import all_metrics
from angiosynth.evaluation.patients import (
    PatientScore,
    TransferScore,
    evaluation_summary,
    read_scores,
    read_transfer,
    summarise,
    transfer_summary,
    write_scores,
    write_transfer,
)
from angiosynth.settings import EvaluationSettings
from tests.factories import make_score

SETTINGS = EvaluationSettings(bootstrap=400, seed=5)
VALIDATION = {
    "real": {"val_dsc": 0.9, "val_hd95_mm": 1.0},
    "dcgan": {"val_dsc": 0.7, "val_hd95_mm": 3.0},
    "wgan-gp": {"val_dsc": 0.8, "val_hd95_mm": 2.5, "step": 300},
    "wgan-gp-sn": {"val_dsc": 0.8, "val_hd95_mm": 2.0},
}
HEADINGS = "patient,dsc,hd95_mm,hd_mm,assd_mm,precision,recall,cldice,bahd_mm,hd95_voxels,hd_voxels,assd_voxels,bahd_voxels,empty\n"
NUMBERS = HEADINGS.strip().split(",")[1:-1]
number = st.floats(0, 1e6, allow_nan=False)


def transfer(start: str, n: int, subset: int, patient: str, dsc: float) -> TransferScore:
    return TransferScore(start, n, subset, "sub-01 sub-02", patient, dsc, 10 * dsc, 20 * dsc, 0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three patients a table; real 0.8, dcgan 0.6, the WGANs 0.7 and 0.72, threshold 0.5 on average."""
    for name, level in {"real": 0.8, "dcgan": 0.6, "wgan-gp": 0.7, "wgan-gp-sn": 0.72, "threshold": 0.5}.items():
        write_scores(tmp_path / f"{name}.csv", [make_score(f"sub-0{n}", level + step) for n, step in enumerate((-0.1, 0.0, 0.1))])
    return tmp_path


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(number, min_size=len(NUMBERS), max_size=len(NUMBERS)), max_size=4), st.integers(0, 1))
def test_scores_survive_the_disk(tmp_path_factory: pytest.TempPathFactory, values: list[list[float]], empty: int) -> None:
    path = tmp_path_factory.mktemp("scores") / "real.csv"
    rows = [PatientScore.of(f"sub-{n:02}", {**dict(zip(NUMBERS, line, strict=True)), "empty": empty}) for n, line in enumerate(values)]
    write_scores(path, rows)
    assert read_scores(path) == rows


def test_columns_are_those_of_the_contract(tmp_path: Path) -> None:
    write_scores(tmp_path / "real.csv", [make_score("sub-01", 0.5)])
    lines = (tmp_path / "real.csv").read_text().splitlines()
    assert lines == [HEADINGS.strip(), "sub-01,0.5,2.0,4.0,0.5,0.5,0.5,0.5,1.0,4.0,8.0,1.0,2.0,0"]
    rows = [transfer("scratch", 1, 0, "sub-05", 0.25)]
    write_transfer(tmp_path / "scratch.csv", rows)
    assert (tmp_path / "scratch.csv").read_text().startswith("start,n_patients,subset,trained_on,patient,dsc,hd95_mm,hd_mm,empty\n")
    assert read_transfer(tmp_path / "scratch.csv") == rows


def test_a_score_takes_what_all_metrics_gives() -> None:
    truth, prediction = (np.random.default_rng(seed).random((6, 5, 4)) < 0.5 for seed in (1, 2))
    found = all_metrics(truth, prediction, (0.5, 0.6, 0.7))
    assert dataclasses.asdict(PatientScore.of("sub-01", found)) == {"patient": "sub-01", **found}


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "patient,dsc\nsub-01,1\n",
        HEADINGS + "sub-01,0.5,1,2\n",
        HEADINGS + "sub-01,high" + ",1" * 11 + ",0\n",
        HEADINGS + "sub-01,nan" + ",1" * 11 + ",0\n",
        HEADINGS + "sub-01,0.5,inf" + ",1" * 10 + ",0\n",
        HEADINGS + ("sub-01,0.5" + ",1" * 11 + ",0\n") * 2,
    ],
)
def test_a_damaged_table_is_named(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "real.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=r"real\.csv") as caught:
        read_scores(path)
    assert "\n" not in str(caught.value)


def test_summary_by_hand() -> None:
    found = summarise([make_score("a", 0.6, 1.0), make_score("b", 0.8, 3.0), make_score("c", 1.0, 8.0, empty=1)], 500, 1)
    expected = {"dsc": 0.8, "hd95_mm": 4.0, "hd_mm": 8.0, "assd_mm": 1.0, "precision": 0.8, "recall": 0.8, "n_patients": 3, "n_empty": 1}
    expected |= {"cldice": 0.8, "bahd_mm": 2.0, "hd95_voxels": 8.0, "hd_voxels": 16.0, "assd_voxels": 2.0, "bahd_voxels": 4.0}
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert 0.6 <= found["dsc_low"] < found["dsc"] < found["dsc_high"] <= 1.0
    assert 1.0 <= found["hd95_mm_low"] < found["hd95_mm"] < found["hd95_mm_high"] <= 8.0


def test_interval_is_that_of_all_resamples() -> None:
    values = (0.2, 0.5, 0.9, 1.0)
    every = [np.mean(pick) for pick in itertools.product(values, repeat=4)]
    found = summarise([make_score(str(n), value) for n, value in enumerate(values)], 20_000, 7)
    assert [found["dsc_low"], found["dsc_high"]] == pytest.approx(np.percentile(every, (2.5, 97.5)), abs=0.03)


def test_one_patient_and_equal_patients_have_no_width() -> None:
    for rows in ([make_score("a", 0.7)], [make_score(str(n), 0.1) for n in range(7)]):
        found = summarise(rows, 100, 1)
        assert found["dsc_low"] <= found["dsc"] <= found["dsc_high"]
        assert found["dsc_high"] - found["dsc_low"] < 1e-12


def test_summary_depends_on_the_seed_alone() -> None:
    rows = [make_score(str(n), value) for n, value in enumerate((0.1, 0.5, 0.7, 0.75, 0.9))]
    assert summarise(rows, 50, 1) == summarise(rows, 50, 1)
    assert summarise(rows, 50, 1) != summarise(rows, 50, 2)


def test_nobody_to_summarise() -> None:
    with pytest.raises(InputError, match="no patient"):
        summarise([], 10, 1)


def test_evaluation_summary(folder: Path) -> None:
    found = evaluation_summary(folder, VALIDATION, 0.375, SETTINGS)
    json.dumps(found, allow_nan=False)
    assert found["real"]["dsc"] == pytest.approx(0.8)
    assert found["real"]["val_hd95_mm"] == 1.0
    assert found["wgan-gp"]["n_patients"] == 3
    assert found["threshold"]["threshold"] == 0.375
    assert "val_dsc" not in found["threshold"]
    assert found["ratio_to_real"] == pytest.approx({"dcgan": 0.75, "wgan-gp": 0.875, "wgan-gp-sn": 0.9})
    # Every patient gains the same, so the paired interval has no width although patients differ widely.
    assert found["gain_over_threshold"]["real"] == pytest.approx({"dsc": 0.3, "dsc_low": 0.3, "dsc_high": 0.3})
    assert found["difference_to_real"]["dcgan"]["dsc"] == pytest.approx(-0.2)


def test_tied_validation_goes_to_the_lower_distance_whatever_the_test_says(folder: Path) -> None:
    assert evaluation_summary(folder, VALIDATION, 0.4, SETTINGS)["chosen_by_validation"] == "wgan-gp-sn"
    better = {**VALIDATION, "dcgan": {"val_dsc": 0.81, "val_hd95_mm": 99.0}}
    assert evaluation_summary(folder, better, 0.4, SETTINGS)["chosen_by_validation"] == "dcgan"


def test_order_of_rows_does_not_matter(folder: Path) -> None:
    before = evaluation_summary(folder, VALIDATION, 0.4, SETTINGS)
    write_scores(folder / "dcgan.csv", list(reversed(read_scores(folder / "dcgan.csv"))))
    assert evaluation_summary(folder, VALIDATION, 0.4, SETTINGS) == before


def test_threshold_may_have_validation_scores(folder: Path) -> None:
    unets = {**VALIDATION, "threshold": {"val_dsc": 0.55, "val_hd95_mm": 4.0}}
    assert evaluation_summary(folder, unets, 0.4, SETTINGS)["threshold"]["val_dsc"] == 0.55


def test_a_real_unet_that_finds_nothing_gives_no_ratio(folder: Path) -> None:
    write_scores(folder / "real.csv", [make_score(f"sub-0{n}", 0.0, empty=1) for n in range(3)])
    found = evaluation_summary(folder, VALIDATION, 0.4, SETTINGS)
    assert found["ratio_to_real"] == {"dcgan": None, "wgan-gp": None, "wgan-gp-sn": None}
    assert found["real"]["n_empty"] == 3


def test_evaluation_summary_refuses_gaps(folder: Path) -> None:
    with pytest.raises(InputError, match=r"unet/dcgan/unet\.json"):
        evaluation_summary(folder, {**VALIDATION, "dcgan": {"val_dsc": 0.5}}, 0.4, SETTINGS)
    write_scores(folder / "dcgan.csv", read_scores(folder / "dcgan.csv")[:2])
    with pytest.raises(InputError, match=r"dcgan\.csv: its patients"):
        evaluation_summary(folder, VALIDATION, 0.4, SETTINGS)
    (folder / "threshold.csv").unlink()
    with pytest.raises(InputError, match=r"threshold\.csv: missing"):
        evaluation_summary(folder, VALIDATION, 0.4, SETTINGS)


def test_transfer_summary_averages_subsets_before_patients(tmp_path: Path) -> None:
    # Patient a was scored by two subsets, b by one: a counts once.
    rows = [transfer("scratch", 1, 0, "a", 0.4), transfer("scratch", 1, 1, "a", 0.6), transfer("scratch", 1, 0, "b", 0.9)]
    write_transfer(tmp_path / "scratch.csv", [*rows, transfer("scratch", 12, 0, "a", 0.8), transfer("scratch", 4, 0, "a", 0.7)])
    write_transfer(tmp_path / "real.csv", [])
    found = transfer_summary(tmp_path, SETTINGS)
    assert found["real"] == {}
    assert list(found["scratch"]) == ["1", "4", "12"]
    one = found["scratch"]["1"]
    assert (one["dsc"], one["hd95_mm"], one["hd_mm"]) == pytest.approx((0.7, 7.0, 14.0))
    assert (one["dsc_low"], one["dsc_high"]) == pytest.approx((0.5, 0.9))
    assert (one["n_patients"], one["n_subsets"], one["n_empty"]) == (2, 2, 0)


def test_transfer_summary_refuses_what_it_cannot_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no table"):
        transfer_summary(tmp_path, SETTINGS)
    write_transfer(tmp_path / "real.csv", [transfer("scratch", 1, 0, "a", 0.4)])
    with pytest.raises(InputError, match="another start"):
        transfer_summary(tmp_path, SETTINGS)


def test_rows_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        make_score("a", 0.5).dsc = 1.0  # type: ignore[misc]
