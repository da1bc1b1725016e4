"""Patients' tables and what is said about them: means over patients, with 95% bootstrap intervals over patients.

Every summary here is a pure function of files and settings. Intervals resample patients, never voxels or subsets, and the same
resamples serve every table, so that differences between two tables are paired.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from angiosynth.errors import InputError
from angiosynth.evaluation.scores import Scores
from angiosynth.runtime.output import whole_file
from angiosynth.settings import MODELS, TRAINING_DATA, EvaluationSettings

THRESHOLD = "threshold"  # the baseline: the best global threshold, picked on training patients
WITH_INTERVAL = ("dsc", "hd95_mm")  # all other metrics' means are reported without


@dataclass(frozen=True)
class _Named:
    patient: str


@dataclass(frozen=True)
class PatientScore(Scores, _Named):
    """One patient's scores: the name, then every metric of `evaluation.scores.Scores`."""

    @classmethod
    def of(cls, patient: str, metrics: Mapping[str, float]) -> PatientScore:
        """From what `evaluation.metrics.all_metrics` gives."""
        return cls(patient=patient, **{name: float(metrics[name]) for name in _numbers(cls)}, empty=int(metrics["empty"]))


@dataclass(frozen=True)
class TransferScore:
    """One patient of the second site, scored by a U-net trained with `n_patients` others of that site."""

    start: str  # "scratch", or the data of the pre-training
    n_patients: int
    subset: int
    trained_on: str  # the training patients' names, joined with blanks
    patient: str
    dsc: float
    hd95_mm: float
    hd_mm: float
    empty: int


Row = TypeVar("Row", PatientScore, TransferScore)


def write_scores(path: Path, rows: Iterable[PatientScore]) -> None:
    """Write metrics/patients/<data>.csv: one line a patient, floats to their last digit. InputError where the disk refuses."""
    _write(path, PatientScore, rows)


def read_scores(path: Path) -> list[PatientScore]:
    """Read what `write_scores` wrote.

    Raises:
        InputError: the file is missing, damaged, names a patient twice or holds a number that is not finite.
    """
    rows = _read(path, PatientScore)
    names = [row.patient for row in rows]
    if len(set(names)) < len(names):
        raise InputError(f"{path}: {next(name for name in names if names.count(name) > 1)} appears twice; run `dvc repro` to make it anew")
    return rows


def write_transfer(path: Path, rows: Iterable[TransferScore]) -> None:
    """Write metrics/transfer/<start>.csv; no rows give a table of headings alone. InputError where the disk refuses."""
    _write(path, TransferScore, rows)


def read_transfer(path: Path) -> list[TransferScore]:
    """Read what `write_transfer` wrote. InputError: missing, damaged, or a number that is not finite."""
    return _read(path, TransferScore)


def summarise(rows: Sequence[PatientScore], bootstrap: int, seed: int) -> dict[str, float | int]:
    """Means over patients; DSC and 95HD with the 95% percentile interval of their bootstrap.

    Args:
        rows: one or more patients.
        bootstrap: number of resamples.
        seed: of the resamples.

    Returns:
        dsc, dsc_low, dsc_high, hd95_mm, hd95_mm_low, hd95_mm_high, the mean of every other metric of `Scores`, n_patients, n_empty.

    Raises:
        InputError: there are no rows.
    """
    if not rows:
        raise InputError("no patient was scored, so there is nothing to average; name at least one test patient in cohort.split_a")
    summary: dict[str, float | int] = {}
    for name in WITH_INTERVAL:
        summary |= _with_interval(name, _column(rows, name), bootstrap, seed)
    summary |= {name: float(_column(rows, name).mean()) for name in _numbers(Scores) if name not in WITH_INTERVAL}
    return summary | {"n_patients": len(rows), "n_empty": sum(row.empty for row in rows)}


def evaluation_summary(
    folder: Path, unets: Mapping[str, Mapping[str, Any]], threshold: float, settings: EvaluationSettings
) -> dict[str, Any]:
    """What metrics/evaluation.json holds.

    Args:
        folder: metrics/patients, with <data>.csv for real, the three GANs and threshold, all over the same patients.
        unets: for each training data, and where wanted for threshold, its validation scores {"val_dsc", "val_hd95_mm"}.
        threshold: the baseline's threshold, on the scale of scans.
        settings: number and seed of the resamples.

    Returns:
        For each data the `summarise` of its patients and its validation scores; "chosen_by_validation": the GAN of the highest
        val_dsc, ties to the lower val_hd95_mm; "ratio_to_real": GAN -> DSC divided by real's (None where real's is 0);
        "difference_to_real" and "gain_over_threshold": name -> {"dsc", "dsc_low", "dsc_high"}, paired by patient.

    Raises:
        InputError: a table is missing or damaged, tables differ in their patients, or validation scores are missing.
    """
    names = (*TRAINING_DATA, THRESHOLD)
    tables = {name: sorted(read_scores(folder / f"{name}.csv"), key=lambda row: row.patient) for name in names}
    _check_same_patients(folder, tables)
    summary: dict[str, Any] = {name: summarise(rows, settings.bootstrap, settings.seed) for name, rows in tables.items()}
    for name in names:
        if name in unets or name != THRESHOLD:
            summary[name] |= _validation(name, unets)
    summary[THRESHOLD]["threshold"] = float(threshold)
    real = summary["real"]["dsc"]

    def difference(name: str, other: str) -> dict[str, float]:
        gaps = _column(tables[name], "dsc") - _column(tables[other], "dsc")
        return _with_interval("dsc", gaps, settings.bootstrap, settings.seed)

    chosen: str = min(MODELS, key=lambda name: (-float(summary[name]["val_dsc"]), float(summary[name]["val_hd95_mm"])))
    return {
        **summary,
        "chosen_by_validation": chosen,
        "ratio_to_real": {name: summary[name]["dsc"] / real if real else None for name in MODELS},
        "difference_to_real": {name: difference(name, "real") for name in MODELS},
        "gain_over_threshold": {name: difference(name, THRESHOLD) for name in TRAINING_DATA},
    }


def transfer_summary(folder: Path, settings: EvaluationSettings) -> dict[str, dict[str, dict[str, float | int]]]:
    """What metrics/transfer.json holds: start -> number of training patients (as text) -> scores.

    A test patient's scores are first averaged over the subsets, then patients are resampled. A start whose table is empty (there is
    no second site) gives an empty dict.

    Args:
        folder: metrics/transfer, with one <start>.csv a start.
        settings: number and seed of the resamples.

    Raises:
        InputError: the folder has no table, or one is damaged or holds another start.
    """
    paths = sorted(folder.glob("*.csv"))
    if not paths:
        raise InputError(f"{folder}: no table <start>.csv; run `dvc repro` to make them")
    summary: dict[str, dict[str, dict[str, float | int]]] = {}
    for path in paths:
        rows = read_transfer(path)
        if any(row.start != path.stem for row in rows):
            raise InputError(f"{path}: holds rows of another start; run `dvc repro` to make it anew")
        counts = sorted({row.n_patients for row in rows})
        summary[path.stem] = {str(n): _transfer_point([row for row in rows if row.n_patients == n], settings) for n in counts}
    return summary


def _transfer_point(rows: Sequence[TransferScore], settings: EvaluationSettings) -> dict[str, float | int]:
    patients = sorted({row.patient for row in rows})
    mean = {
        name: np.array([_column([row for row in rows if row.patient == patient], name).mean() for patient in patients])
        for name in ("dsc", "hd95_mm", "hd_mm")
    }
    point: dict[str, float | int] = {}
    for name in WITH_INTERVAL:
        point |= _with_interval(name, mean[name], settings.bootstrap, settings.seed)
    subsets = len({row.subset for row in rows})
    empty = sum(row.empty for row in rows)
    return point | {"hd_mm": float(mean["hd_mm"].mean()), "n_patients": len(patients), "n_subsets": subsets, "n_empty": empty}


def _with_interval(name: str, values: NDArray[np.float64], bootstrap: int, seed: int) -> dict[str, float]:
    """Mean of the values, and the 2.5th and 97.5th percentile of the means of `bootstrap` resamples."""
    rng = np.random.default_rng(seed)
    means = values[rng.integers(len(values), size=(bootstrap, len(values)))].mean(axis=1)
    low, high = np.percentile(means, (2.5, 97.5))
    mean = float(values.mean())
    # Rounding in the last place must not push the mean of equal values out of its own interval.
    return {name: mean, f"{name}_low": min(float(low), mean), f"{name}_high": max(float(high), mean)}


def _validation(name: str, unets: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    try:
        return {key: float(unets[name][key]) for key in ("val_dsc", "val_hd95_mm")}
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"models/unet/{name}/unet.json: val_dsc or val_hd95_mm is missing; run `dvc repro` to train it") from error


def _check_same_patients(folder: Path, tables: Mapping[str, Sequence[PatientScore]]) -> None:
    wanted = [row.patient for row in tables["real"]]
    for name, rows in tables.items():
        if [row.patient for row in rows] != wanted:
            raise InputError(f"{folder / name}.csv: its patients are not those of real.csv; run `dvc repro` to score them all")


def _column(rows: Sequence[PatientScore] | Sequence[TransferScore], name: str) -> NDArray[np.float64]:
    return np.array([getattr(row, name) for row in rows], np.float64)


def _numbers(kind: type) -> list[str]:
    """The names of a table's columns that hold real numbers."""
    return [field.name for field in fields(kind) if field.type == "float"]


def _write(path: Path, kind: type[Row], rows: Iterable[Row]) -> None:
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, [field.name for field in fields(kind)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def _read(path: Path, kind: type[Row]) -> list[Row]:
    reads: dict[str, Any] = {"str": str, "int": int, "float": float}
    columns = {field.name: reads[str(field.type)] for field in fields(kind)}
    try:
        with Path(path).open(encoding="utf-8", newline="") as stream:
            table = csv.DictReader(stream)
            if tuple(table.fieldnames or ()) != tuple(columns):
                raise ValueError("other columns")
            rows = [kind(**{name: read(line[name]) for name, read in columns.items()}) for line in table]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path}: missing or damaged; run `dvc repro` to make it") from error
    if not all(np.isfinite(getattr(row, name)) for row in rows for name in _numbers(kind)):
        raise InputError(f"{path}: holds a number that is not finite; run `dvc repro` to make it anew")
    return rows
