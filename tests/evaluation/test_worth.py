"""A set's worth in patients: looked up by hand, levelled where luck makes the curve fall, at most and at least at its ends."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from angiosynth.errors import InputError
from angiosynth.evaluation.patients import TransferScore, write_scores
from angiosynth.evaluation.worth import patients_worth, worth_summary
from angiosynth.settings import EvaluationSettings
from tests.factories import make_score

SETTINGS = EvaluationSettings(bootstrap=400, seed=1)
PATIENTS = ("sub-1", "sub-2", "sub-3", "sub-4")


def _row(count: int, subset: int, patient: str, dsc: float) -> TransferScore:
    return TransferScore("site-a", "scratch", count, subset, "sub-9", patient, dsc, 3.0, 20.0, 0)


@pytest.mark.parametrize(
    ("dsc", "curve", "patients"),
    [
        (0.70, (0.6, 0.7, 0.9), 2.0),
        (0.80, (0.6, 0.7, 0.9), 2**1.5),  # half way from 2 to 4
        (0.65, (0.6, 0.7, 0.9), 2**0.5),
        (0.50, (0.6, 0.7, 0.9), 1.0),
        (0.95, (0.6, 0.7, 0.9), 4.0),
        (0.75, (0.7, 0.6, 0.85), 2**1.5),  # levelled: 0.65, 0.65, 0.85
        (0.64, (0.7, 0.6, 0.85), 1.0),
    ],
)
def test_the_number_is_looked_up_on_the_curve(dsc: float, curve: tuple[float, ...], patients: float) -> None:
    assert patients_worth(dsc, np.array([1, 2, 4]), np.array(curve)) == pytest.approx(patients)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Test patients that differ by 0.02 each; a set between 1 and 4 patients, one below, one above all."""
    for name, level in {"real": 0.9, "middle": 0.8, "poor": 0.3, "rich": 0.95}.items():
        scores = [make_score(who, level + 0.02 * place, 3.0, 20.0) for place, who in enumerate(PATIENTS)]
        write_scores(tmp_path / "patients" / f"{name}.csv", scores)
    return tmp_path


def _rows(spread: float = 0.0) -> list[TransferScore]:
    """Two subsets of one patient, whose means differ by the spread."""
    levels = {0: 0.7 - spread / 2, 1: 0.7 + spread / 2}
    return [_row(1, subset, who, level + 0.02 * place) for subset, level in levels.items() for place, who in enumerate(PATIENTS)]


def _scored(rows: list[TransferScore], *generators: str) -> dict[str, list[TransferScore]]:
    """The rows of U-nets on real patches, and generators that were not joined with any."""
    return {"real": rows, **{name: [] for name in generators or ("middle",)}}


def test_curve_and_worth_by_hand(folder: Path) -> None:
    summary = worth_summary(_scored(_rows(), "middle", "poor", "rich"), folder, 4, SETTINGS)
    assert {count: (point["dsc"], point["n_subsets"]) for count, point in summary["curve"].items()} == {
        "1": (pytest.approx(0.73), 2),
        "4": (pytest.approx(0.93), 1),
    }
    assert summary["curve"]["4"]["dsc_low"] < 0.93 < summary["curve"]["4"]["dsc_high"]
    # Half way from 0.7 to 0.9, so half way from 1 to 4 by the logarithm; every resample of patients moves curve and set alike.
    assert summary["sets"]["middle"] == {name: pytest.approx(2.0) for name in ("patients", "patients_low", "patients_high")}
    assert set(summary["sets"]["poor"].values()) == {1.0}
    assert set(summary["sets"]["rich"].values()) == {4.0}


def test_subsets_that_differ_widen_the_interval(folder: Path) -> None:
    middle = worth_summary(_scored(_rows(0.1)), folder, 4, SETTINGS)["sets"]["middle"]
    assert middle["patients"] == pytest.approx(2.0)
    assert 1.0 < middle["patients_low"] < 1.9
    assert 2.1 < middle["patients_high"] < 4.0


def test_all_patients_are_the_unet_on_real_patches(folder: Path) -> None:
    again = [_row(4, 0, who, 0.1) for who in PATIENTS]
    assert worth_summary(_scored([*_rows(), *again]), folder, 4, SETTINGS) == worth_summary(_scored(_rows()), folder, 4, SETTINGS)


def test_nothing_measured_is_nothing_said(tmp_path: Path) -> None:
    assert worth_summary(_scored([]), tmp_path, 4, SETTINGS) == {}


def test_other_test_patients_are_refused(folder: Path) -> None:
    with pytest.raises(InputError, match="its test patients are not those of"):
        worth_summary(_scored([row for row in _rows() if row.patient != "sub-2"]), folder, 4, SETTINGS)


def test_a_set_together_with_few_patients_gains_over_them_alone(folder: Path) -> None:
    joint = [replace(row, dsc=row.dsc + (0.1 if row.subset == 0 else 0.04)) for row in _rows()]
    scored = _scored(_rows()) | {"rich": joint}
    summary = worth_summary(scored, folder, 4, SETTINGS)
    assert set(summary["together"]) == {"rich"}
    point = summary["together"]["rich"]["1"]
    assert (point["dsc"], point["dsc_gain"], point["n_subsets"]) == (pytest.approx(0.80), pytest.approx(0.07), 2)
    assert (point["dsc_gain_low"], point["dsc_gain_high"]) == (pytest.approx(0.04), pytest.approx(0.1))
    with pytest.raises(InputError, match=r"rich\.csv: its subsets or patients are not those of real\.csv"):
        worth_summary(scored | {"rich": [replace(row, trained_on="sub-8") for row in joint]}, folder, 4, SETTINGS)
