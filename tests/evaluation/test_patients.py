"""Tables survive the disk to the last digit, and a damaged one is named."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from angiosynth.errors import InputError
from angiosynth.evaluation.patients import (
    PatientScore,
    TransferScore,
    read_scores,
    read_transfer,
    write_all_scores,
    write_scores,
    write_transfer,
)

number = st.floats(0, 1e6, allow_nan=False)


def score(patient: str, dsc: float, hd95_mm: float = 2.0, empty: int = 0) -> PatientScore:
    return PatientScore(patient, dsc, hd95_mm, 2 * hd95_mm, hd95_mm / 4, dsc, dsc, empty)


def transfer(start: str, n: int, subset: int, patient: str, dsc: float) -> TransferScore:
    return TransferScore(start, n, subset, "sub-01 sub-02", patient, dsc, 10 * dsc, 20 * dsc, 0)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(number, number, number, number, number, number, st.integers(0, 1), st.integers(0, 9)), min_size=0, max_size=4))
def test_scores_survive_the_disk(
    tmp_path_factory: pytest.TempPathFactory, values: list[tuple[float, float, float, float, float, float, int, int]]
) -> None:
    path = tmp_path_factory.mktemp("scores") / "real.csv"
    rows = [PatientScore(f"sub-{n:02}", *line) for n, line in enumerate(values)]
    write_scores(path, rows)
    assert read_scores(path) == rows


def test_columns_are_those_of_the_contract(tmp_path: Path) -> None:
    write_scores(tmp_path / "real.csv", [score("sub-01", 0.5)])
    lines = (tmp_path / "real.csv").read_text().splitlines()
    assert lines == ["patient,dsc,hd95_mm,hd_mm,assd_mm,precision,recall,empty,seed", "sub-01,0.5,2.0,4.0,0.5,0.5,0.5,0,0"]
    rows = [transfer("scratch", 1, 0, "sub-05", 0.25)]
    write_transfer(tmp_path / "scratch.csv", rows)
    assert (tmp_path / "scratch.csv").read_text().startswith("start,n_patients,subset,trained_on,patient,dsc,hd95_mm,hd_mm,empty\n")
    assert read_transfer(tmp_path / "scratch.csv") == rows


def test_a_score_takes_what_all_metrics_gives() -> None:
    found = {"dsc": 0.5, "hd95_mm": 1, "hd_mm": 2, "assd_mm": 0.25, "precision": 0.4, "recall": 0.6, "empty": 1.0}
    assert PatientScore.of("sub-01", found, seed=3) == PatientScore("sub-01", 0.5, 1.0, 2.0, 0.25, 0.4, 0.6, 1, 3)


def test_all_tables_in_one(tmp_path: Path) -> None:
    write_all_scores(tmp_path / "evaluation.csv", {"real": [score("sub-01", 0.5)], "dcgan": [score("sub-01", 0.25), score("sub-02", 1.0)]})
    lines = (tmp_path / "evaluation.csv").read_text().splitlines()
    assert lines[0] == "trained_on,patient,dsc,hd95_mm,hd_mm,assd_mm,precision,recall,empty,seed"
    assert [line[:19] for line in lines[1:]] == ["real,sub-01,0.5,2.0", "dcgan,sub-01,0.25,2", "dcgan,sub-02,1.0,2."]


HEADINGS = "patient,dsc,hd95_mm,hd_mm,assd_mm,precision,recall,empty,seed\n"


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "patient,dsc\nsub-01,1\n",
        HEADINGS + "sub-01,0.5,1,2\n",
        HEADINGS + "sub-01,high,1,2,1,1,1,0,1\n",
        HEADINGS + "sub-01,nan,1,2,1,1,1,0,1\n",
        HEADINGS + "sub-01,0.5,inf,2,1,1,1,0,1\n",
        HEADINGS + "sub-01,0.5,1,2,1,1,1,0,1\n" * 2,
    ],
)
def test_a_damaged_table_is_named(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "real.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=r"real\.csv") as caught:
        read_scores(path)
    assert "\n" not in str(caught.value)


def test_rows_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        score("a", 0.5).dsc = 1.0  # type: ignore[misc]
