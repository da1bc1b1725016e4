"""Tables survive the disk to the last digit, and a damaged one is named."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
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
from angiosynth.metrics.segmentation import all_metrics
from tests.factories import make_score

HEADINGS = "patient,dsc,hd95_mm,hd_mm,assd_mm,precision,recall,cldice,bahd_mm,hd95_voxels,hd_voxels,assd_voxels,bahd_voxels,empty,seed\n"
NUMBERS = HEADINGS.strip().split(",")[1:-2]
number = st.floats(0, 1e6, allow_nan=False)


def transfer(start: str, n: int, subset: int, patient: str, dsc: float) -> TransferScore:
    return TransferScore("site-b", start, n, subset, "sub-01 sub-02", patient, dsc, 10 * dsc, 20 * dsc, 0)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(number, min_size=len(NUMBERS), max_size=len(NUMBERS)), max_size=4), st.integers(0, 1), st.integers(0, 9))
def test_scores_survive_the_disk(tmp_path_factory: pytest.TempPathFactory, values: list[list[float]], empty: int, seed: int) -> None:
    path = tmp_path_factory.mktemp("scores") / "real.csv"
    rows = [
        PatientScore.of(f"sub-{n:02}", {**dict(zip(NUMBERS, line, strict=True)), "empty": empty}, seed) for n, line in enumerate(values)
    ]
    write_scores(path, rows)
    assert read_scores(path) == rows


def test_columns_are_those_of_the_contract(tmp_path: Path) -> None:
    write_scores(tmp_path / "real.csv", [make_score("sub-01", 0.5)])
    lines = (tmp_path / "real.csv").read_text().splitlines()
    assert lines == [HEADINGS.strip(), "sub-01,0.5,2.0,4.0,0.5,0.5,0.5,0.5,1.0,4.0,8.0,1.0,2.0,0,0"]
    rows = [transfer("scratch", 1, 0, "sub-05", 0.25)]
    write_transfer(tmp_path / "scratch.csv", rows)
    assert (tmp_path / "scratch.csv").read_text().startswith("site,start,n_patients,subset,trained_on,patient,dsc,hd95_mm,hd_mm,empty\n")
    assert read_transfer(tmp_path / "scratch.csv") == rows


def test_a_score_takes_what_all_metrics_gives() -> None:
    truth, prediction = (np.random.default_rng(seed).random((6, 5, 4)) < 0.5 for seed in (1, 2))
    result = all_metrics(truth, prediction, (0.5, 0.6, 0.7))
    assert dataclasses.asdict(PatientScore.of("sub-01", result, seed=3)) == {"patient": "sub-01", **result, "seed": 3}


def test_all_tables_in_one(tmp_path: Path) -> None:
    rows = {"real": [make_score("sub-01", 0.5)], "dcgan": [make_score("sub-01", 0.25), make_score("sub-02", 1.0)]}
    write_all_scores(tmp_path / "evaluation.csv", rows)
    lines = (tmp_path / "evaluation.csv").read_text().splitlines()
    assert lines[0] == "trained_on," + HEADINGS.strip()
    assert [line[:19] for line in lines[1:]] == ["real,sub-01,0.5,2.0", "dcgan,sub-01,0.25,2", "dcgan,sub-02,1.0,2."]


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "patient,dsc\nsub-01,1\n",
        HEADINGS + "sub-01,0.5,1,2\n",
        HEADINGS + "sub-01,high" + ",1" * 11 + ",0,1\n",
        HEADINGS + "sub-01,nan" + ",1" * 11 + ",0,1\n",
        HEADINGS + "sub-01,0.5,inf" + ",1" * 10 + ",0,1\n",
        HEADINGS + ("sub-01,0.5" + ",1" * 11 + ",0,1\n") * 2,
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
        make_score("a", 0.5).dsc = 1.0  # type: ignore[misc]
