"""No cell of a table that leaves a command is run by a spreadsheet, and what was a number still is one."""

from __future__ import annotations

import ast
import csv
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from angiosynth.evaluation.patients import read_scores, write_all_scores, write_scores
from angiosynth.importing.pairing import Sources, pair_by_patterns
from angiosynth.importing.pseudonyms import draw_numbers, write_names
from angiosynth.project.workspace import write_curve
from angiosynth.runtime.tables import plain_cell, safe_cell, write_table
from angiosynth.search.results import SweepResult, TrialRow, write_tables
from tests.factories import make_score

SOURCE = Path(__file__).resolve().parents[2] / "src" / "angiosynth"
RUN = [
    "=1+1",
    "=cmd|' /C calc'!A0",
    "+1+cmd|' /C calc'!A0",
    "-2+3+cmd|' /C calc'!A0",
    "@SUM(1)",
    "\t=1+1",
    "\r=1+1",
    "\n=1+1",
    "  =1+1",
    "\u00a0=1+1",
    "\ufeff=1+1",
    "\uff1d1+1",
    "\uff0b1",
    "\uff20x",
    "'=1+1",
    '=HYPERLINK("http://evil.example","x")',
    "-",
    "+",
]
PLAIN = ["sub-01", "a=b", "3-4", "x@y", "Müller", "", "'quoted'", "a\tb", "scan 01.nii.gz", "wgan-gp"]
NUMBERS: list[object] = [-1, 0.5, -0.25, 1e-9, -1e300, float("-inf"), np.float64(-2.5), np.int64(-3), "-3", "+4.5", "-1e-5", None]


def _cells(rows: list[list[object]]) -> list[list[str]]:
    stream = io.StringIO(newline="")
    write_table(stream, ["name", *(f"column {number}" for number in range(len(rows[0]) - 1))], rows)
    return list(csv.reader(io.StringIO(stream.getvalue(), newline="")))[1:]


@pytest.mark.parametrize("text", RUN)
def test_a_text_that_would_be_run_is_marked_as_a_text(text: str) -> None:
    """Neighbours: each sign, behind spaces of all kinds, tabs and line ends, in full width, behind an apostrophe already."""
    ((cell,),) = _cells([[text]])
    assert cell == f"'{text}"
    assert plain_cell(cell) == text


@pytest.mark.parametrize("text", PLAIN)
def test_other_texts_stay(text: str) -> None:
    assert _cells([[text, "x"]])[0][0] == text == plain_cell(text)


@pytest.mark.parametrize("number", NUMBERS)
def test_numbers_stay_numbers(number: object) -> None:
    assert safe_cell(number) is number
    assert _cells([[number, "x"]])[0][0] == ("" if number is None else str(number))


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_every_text_comes_back(text: str) -> None:
    cell = safe_cell(text)
    assert isinstance(cell, str)
    assert plain_cell(cell) == text
    assert not cell.lstrip().startswith(("=", "@"))


def _first_signs(path: Path, delimiter: str = ",") -> list[str]:
    with path.open(newline="", encoding="utf-8") as stream:
        return [cell for row in csv.reader(stream, delimiter=delimiter) for cell in row if cell and not _is_number(cell)]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def test_every_table_of_a_command_goes_through_it(tmp_path: Path) -> None:
    """The tables of evaluation, of a curve and of a sweep, with a text from outside in every place that takes one."""
    evil = "=cmd|' /C calc'!A0"
    write_scores(tmp_path / "scores.csv", [make_score(evil, 0.5)])
    write_all_scores(tmp_path / "all.csv", {evil: [make_score(evil, 0.5)]})
    write_curve(tmp_path / "curve.csv", [{"step": 1, evil: -0.5}])
    row = TrialRow(0, evil, {evil: evil}, 0.5, 2.0, evil, 1.0, evil)
    write_tables(SweepResult("study", "wgan-gp", (row,), (), tmp_path, interrupted=False))
    for name in ("scores.csv", "all.csv", "curve.csv", "trials.csv"):
        cells = _first_signs(tmp_path / name)
        assert f"'{evil}" in cells
        assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
    assert read_scores(tmp_path / "scores.csv")[0].dsc == 0.5


def test_the_table_of_names_knows_a_file_that_is_called_like_a_formula(tmp_path: Path) -> None:
    """It is read again by the next import: the scan keeps its number."""
    for name in ("=1+1_tof.nii", "+a_tof.nii", "'=b_tof.nii", "@c_tof.nii", "-d_tof.nii", "e_tof.nii"):
        (tmp_path / name).write_bytes(b"x")
    paired, faults = pair_by_patterns(tmp_path, "*_tof")
    assert not faults
    wanted = [sources.name for sources in paired]
    numbers = draw_numbers(tmp_path / "names.csv", wanted)
    write_names(tmp_path / "names.csv", [*paired, Sources("=later", tmp_path / "=later")], numbers)
    assert not [cell for cell in _first_signs(tmp_path / "names.csv") if cell.startswith(("=", "+", "-", "@"))]
    assert draw_numbers(tmp_path / "names.csv", wanted) == numbers


def _writers(text: str) -> list[int]:
    """Lines that write CSV without `write_table`."""
    tree = ast.parse(text)
    named = {"writer", "DictWriter", "to_csv", "savetxt"}
    return [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr in named and _of_a_library(node)]


def _of_a_library(node: ast.Attribute) -> bool:
    return node.attr in {"to_csv", "savetxt"} or (isinstance(node.value, ast.Name) and node.value.id == "csv")


def test_nobody_writes_a_table_around_it() -> None:
    found = {
        path.relative_to(SOURCE).as_posix(): lines for path in SOURCE.rglob("*.py") if (lines := _writers(path.read_text(encoding="utf-8")))
    }
    assert set(found) == {"runtime/tables.py"}
    assert _writers("import csv\ncsv.DictWriter(stream, names)\nframe.to_csv(path)\nnp.savetxt(path, x)") == [2, 3, 4]
