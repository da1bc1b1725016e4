"""Patient tables as CSV, one line per patient and training. evaluation/summary.py computes their statistics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from angiosynth.errors import InputError
from angiosynth.metrics.scores import Scores
from angiosynth.reading import read_rows
from angiosynth.runtime.output import whole_file
from angiosynth.runtime.tables import write_table

THRESHOLD = "threshold"  # the baseline: the best global threshold, selected on training patients
SCRATCH = "scratch"  # the start of a transfer without pre-training


@dataclass(frozen=True)
class _Named:
    patient: str


@dataclass(frozen=True)
class PatientScore(Scores, _Named):
    """Scores of one patient: the name, then every metric of `metrics.scores.Scores`."""

    seed: int = 0  # of the U-net's training; 0 for the threshold, which has no training

    @classmethod
    def of(cls, patient: str, metrics: Mapping[str, float], seed: int = 0) -> PatientScore:
        """Build from the result of `metrics.segmentation.all_metrics`."""
        return cls(patient=patient, **{name: float(metrics[name]) for name in _numbers(cls)}, empty=int(metrics["empty"]), seed=seed)


@dataclass(frozen=True)
class TransferScore:
    """Scores of one patient of a target site by a U-net trained on `n_patients` other patients of that site."""

    site: str
    start: str  # "scratch", or the name of the pre-training data
    n_patients: int
    subset: int
    trained_on: str  # names of the training patients, joined with spaces
    patient: str
    dsc: float
    hd95_mm: float
    hd_mm: float
    empty: int


Row = TypeVar("Row", PatientScore, TransferScore)


def write_scores(path: Path, rows: Iterable[PatientScore]) -> None:
    """Write metrics/patients/<data>.csv: one line per patient and seed, floats in full precision. Raises InputError if writing fails."""
    _write(path, PatientScore, rows)


def read_scores(path: Path) -> list[PatientScore]:
    """Read a table written by `write_scores`.

    Raises:
        InputError: the file is missing or damaged, contains a patient twice for one seed, or a number that is not finite.
    """
    rows = _read(path, PatientScore)
    cells = [(row.patient, row.seed) for row in rows]
    if len(set(cells)) < len(cells):
        twice = next(patient for patient, seed in cells if cells.count((patient, seed)) > 1)
        raise InputError(f"{path}: {twice} appears twice; run `dvc repro` to make it anew")
    return rows


def write_all_scores(path: Path, tables: Mapping[str, Sequence[PatientScore]]) -> None:
    """Write metrics/evaluation.csv: all tables in one, with a first column "trained_on". Raises InputError if writing fails."""
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        columns = ["trained_on", *(field.name for field in fields(PatientScore))]
        write_table(stream, columns, ([name, *astuple(row)] for name, rows in tables.items() for row in rows))


def write_transfer(path: Path, rows: Iterable[TransferScore]) -> None:
    """Write metrics/transfer/<start>.csv; without rows it holds only the headings. Raises InputError if writing fails."""
    _write(path, TransferScore, rows)


def read_transfer(path: Path) -> list[TransferScore]:
    """Read a table written by `write_transfer`. Raises InputError if it is missing, damaged, or contains a number that is not finite."""
    return _read(path, TransferScore)


def _numbers(kind: type) -> list[str]:
    """Names of the table's columns of type float."""
    return [field.name for field in fields(kind) if field.type == "float"]


def _write(path: Path, kind: type[Row], rows: Iterable[Row]) -> None:
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        write_table(stream, [field.name for field in fields(kind)], map(astuple, rows))


def _read(path: Path, kind: type[Row]) -> list[Row]:
    reads: dict[str, Any] = {"str": str, "int": int, "float": float}
    columns = {field.name: reads[str(field.type)] for field in fields(kind)}
    try:
        names, lines = read_rows(Path(path))
        if tuple(names) != tuple(columns):
            raise ValueError("other columns")
        rows = [kind(**{name: read(line[name]) for name, read in columns.items()}) for line in lines]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path}: missing or damaged; run `dvc repro` to make it") from error
    if not all(np.isfinite(getattr(row, name)) for row in rows for name in _numbers(kind)):
        raise InputError(f"{path}: holds a number that is not finite; run `dvc repro` to make it anew")
    return rows
