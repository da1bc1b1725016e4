"""Statistics of patient tables: means, 95% bootstrap intervals, spreads, paired differences.

A table holds the score of every test patient for every training. At the source site the trainings of a U-net differ by seed; at a target
site they differ by the subset of training patients. The two cases are treated differently, since they answer different questions.

Seeds: scores are averaged over seeds for each patient, and patients are resampled. The standard deviation of the seeds' means is reported
with the interval. Two or three seeds are too few to resample.

Subsets: the training patients of a lab are a random sample, like the test patients. Both are therefore resampled, independently of each
other, and the score of a resample is the mean over all its pairs of subset and patient. This is the pigeonhole bootstrap for crossed
samples (Owen 2007, Annals of Applied Statistics 1, 386-411), which is conservative. With a single subset only patients are resampled.

All tables use the same resamples, so that differences between two tables are paired. All functions depend only on files and settings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from angiosynth.errors import InputError
from angiosynth.evaluation.patients import SCRATCH, THRESHOLD, PatientScore, TransferScore, read_scores, read_transfer
from angiosynth.metrics.scores import Scores
from angiosynth.settings import REAL, EvaluationSettings

Table = NDArray[np.float64]  # (trainings, patients)
INTERVALS = ("dsc", "hd95_mm")  # metrics reported with an interval
MEANS = tuple(field.name for field in fields(Scores) if field.type == "float" and field.name not in INTERVALS)  # reported as means only


class ScoreTable:
    """Scores arranged by training and patient: `scores("dsc")` is an array (trainings, patients).

    Args:
        rows: each patient scored exactly once by each training.
        training: name of the column that identifies the training, "seed" or "subset".
        path: the table's file, for messages.

    Raises:
        InputError: there are no rows, or a training scored a patient not at all or twice.
    """

    def __init__(self, rows: Sequence[PatientScore] | Sequence[TransferScore], training: str, path: Path) -> None:
        if not rows:
            raise InputError(f"{path}: no patient was scored, so there is nothing to average; name a test patient in params.yaml, cohort")
        cells = {(getattr(row, training), row.patient): row for row in rows}
        self.trainings = sorted({identifier for identifier, _ in cells})
        self.patients = sorted({patient for _, patient in cells})
        if not len(rows) == len(cells) == len(self.trainings) * len(self.patients):
            raise InputError(f"{path}: not every {training} scored every patient once; run `dvc repro` to make it anew")
        self._rows = [[cells[identifier, patient] for patient in self.patients] for identifier in self.trainings]

    def __call__(self, name: str) -> Table:
        return np.array([[getattr(row, name) for row in line] for line in self._rows], np.float64)


def summarise(rows: Sequence[PatientScore], bootstrap: int, seed: int) -> dict[str, float | int]:
    """Means over patients and seeds; for DSC and 95HD also the 95% percentile interval over patients.

    Args:
        rows: one or more patients, each scored once by every seed.
        bootstrap: number of resamples.
        seed: seed of the resamples.

    Returns:
        dsc, dsc_low, dsc_high, hd95_mm, hd95_mm_low, hd95_mm_high, the means named in MEANS, n_patients, n_seeds, n_empty (predictions,
        of n_patients times n_seeds); with several seeds dsc_seed_sd and hd95_mm_seed_sd, standard deviations of the seeds' means.

    Raises:
        InputError: there are no rows, or seeds differ in their patients.
    """
    return _summary(ScoreTable(rows, "seed", Path("metrics/patients")), EvaluationSettings(bootstrap=bootstrap, seed=seed))


def evaluation_summary(
    folder: Path, unets: Mapping[str, Mapping[str, Any]], threshold: float, settings: EvaluationSettings
) -> dict[str, Any]:
    """Compute the content of metrics/evaluation.json.

    Args:
        folder: metrics/patients, with <data>.csv for real, each generator and threshold, all of the same patients.
        unets: validation scores {"val_dsc", "val_hd95_mm"}, with several seeds also "val_dsc_seed_sd", for real and each generator;
            optional for threshold.
        threshold: threshold of the baseline, in [-1, 1].
        settings: number and seed of the resamples.

    Returns:
        For each data set the `summarise` of its patients and its validation scores. "generators": names in order. "chosen_by_validation":
        the generator with the highest val_dsc, ties broken by the lower val_hd95_mm. "ratio_to_real": generator -> its DSC divided by that
        of real (None if that is 0). "difference_to_real" and "gain_over_threshold": name -> {"dsc", "dsc_low", "dsc_high"}, paired by
        patient; with several seeds also "dsc_seed_sd", between trainings of the same seed.

    Raises:
        InputError: a table is missing or damaged, tables differ in their patients or seeds, or validation scores are missing.
    """
    # Read the tables of all data sets; they must have the same patients and seeds.
    training_data = [name for name in unets if name != THRESHOLD]
    generators = [name for name in training_data if name != REAL]
    names = (*training_data, THRESHOLD)
    tables = {name: ScoreTable(read_scores(folder / f"{name}.csv"), "seed", folder / f"{name}.csv") for name in names}
    _check_alike(folder, tables)
    # Test scores with intervals, and validation scores, of each data set.
    summary: dict[str, Any] = {name: _summary(scores, settings) for name, scores in tables.items()}
    for name in names:
        if name in unets or name != THRESHOLD:
            summary[name] |= _validation(name, unets)
    summary[THRESHOLD]["threshold"] = float(threshold)
    real = summary["real"]["dsc"]

    def difference(name: str, other: str) -> dict[str, float]:
        gaps = tables[name]("dsc") - tables[other]("dsc")  # (seeds, patients), paired by seed and patient
        return _with_interval("dsc", gaps.mean(axis=0, keepdims=True), settings) | _spread("dsc_seed_sd", gaps)

    # The selection uses validation scores only.
    chosen: str = min(generators, key=lambda name: (-float(summary[name]["val_dsc"]), float(summary[name]["val_hd95_mm"])))
    return {
        **summary,
        "generators": generators,
        "chosen_by_validation": chosen,
        "ratio_to_real": {name: summary[name]["dsc"] / real if real else None for name in generators},
        "difference_to_real": {name: difference(name, "real") for name in generators},
        "gain_over_threshold": {name: difference(name, THRESHOLD) for name in training_data},
    }


def over_seeds(trainings: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return the means of val_dsc and val_hd95_mm over trainings, and val_dsc_seed_sd if there are several; {} if one was not validated."""
    if not all("val_dsc" in training for training in trainings):
        return {}
    scores = {name: float(np.mean([training[name] for training in trainings])) for name in ("val_dsc", "val_hd95_mm")}
    spread = {"val_dsc_seed_sd": float(np.std([training["val_dsc"] for training in trainings], ddof=1))} if len(trainings) > 1 else {}
    return scores | spread


TransferSummary = dict[str, dict[str, dict[str, dict[str, float | int]]]]


def transfer_summary(folder: Path, settings: EvaluationSettings) -> TransferSummary:
    """Compute the content of metrics/transfer.json: site -> start -> number of training patients (as text) -> scores.

    Scores are dsc and hd95_mm with intervals over subsets and test patients, hd_mm, n_patients, n_subsets and n_empty; with several subsets
    also dsc_subset_sd, the standard deviation of the subsets' means. Starts other than scratch also have dsc_gain, dsc_gain_low and
    dsc_gain_high: the DSC minus that from scratch, paired by subset and patient. Without target sites the result is empty.

    Args:
        folder: metrics/transfer, with one <start>.csv per start.
        settings: number and seed of the resamples.

    Raises:
        InputError: the folder has no table; or a table is damaged, contains another start, or other subsets or patients than scratch.csv.
    """
    paths = sorted(folder.glob("*.csv"))
    if not paths:
        raise InputError(f"{folder}: no table <start>.csv; run `dvc repro` to make them")
    tables = {path: _rows_of_start(path) for path in paths}
    scratch = tables.get(folder / f"{SCRATCH}.csv", {})
    summary: TransferSummary = {}
    for path, table in tables.items():
        for (site, count), rows in table.items():
            point = transfer_point(ScoreTable(rows, "subset", path), settings)
            if path.stem != SCRATCH and (site, count) in scratch:
                point |= gain(rows, scratch[site, count], path, path.with_name(f"{SCRATCH}.csv"), settings)
            summary.setdefault(site, {}).setdefault(path.stem, {})[str(count)] = point
    return summary


def _rows_of_start(path: Path) -> dict[tuple[str, int], list[TransferScore]]:
    """Rows of one start, grouped by site and number of training patients."""
    rows = read_transfer(path)
    if any(row.start != path.stem for row in rows):
        raise InputError(f"{path}: holds rows of another start; run `dvc repro` to make it anew")
    cells = sorted({(row.site, row.n_patients) for row in rows})
    return {(site, count): [row for row in rows if (row.site, row.n_patients) == (site, count)] for site, count in cells}


def _summary(scores: ScoreTable, settings: EvaluationSettings) -> dict[str, float | int]:
    summary: dict[str, float | int] = {}
    for name in INTERVALS:
        summary |= _with_interval(name, scores(name).mean(axis=0, keepdims=True), settings) | _spread(f"{name}_seed_sd", scores(name))
    summary |= {name: float(scores(name).mean()) for name in MEANS}
    return summary | {"n_patients": len(scores.patients), "n_seeds": len(scores.trainings), "n_empty": int(scores("empty").sum())}


def transfer_point(scores: ScoreTable, settings: EvaluationSettings) -> dict[str, float | int]:
    """Return the scores of trainings on subsets of one size, as in `transfer_summary`."""
    point: dict[str, float | int] = {}
    for name in INTERVALS:
        point |= _with_interval(name, scores(name), settings)
    point |= _spread("dsc_subset_sd", scores("dsc")) | {"hd_mm": float(scores("hd_mm").mean())}
    return point | {"n_patients": len(scores.patients), "n_subsets": len(scores.trainings), "n_empty": int(scores("empty").sum())}


def gain(
    rows: Sequence[TransferScore], base: Sequence[TransferScore], path: Path, base_path: Path, settings: EvaluationSettings
) -> dict[str, float]:
    """Return dsc_gain, dsc_gain_low and dsc_gain_high, from the differences between corresponding cells of two tables.

    Raises:
        InputError: the tables differ in their subsets, the patients of a subset, or the test patients.
    """
    ours, theirs = ({(row.subset, row.trained_on, row.patient) for row in table} for table in (rows, base))
    if ours != theirs:
        raise InputError(f"{path}: its subsets or patients are not those of {base_path.name}; run `dvc repro` to make both anew")
    gaps = ScoreTable(rows, "subset", path)("dsc") - ScoreTable(base, "subset", base_path)("dsc")
    return _with_interval("dsc_gain", gaps, settings)


def _with_interval(name: str, values: Table, settings: EvaluationSettings) -> dict[str, float]:
    """Mean of values (trainings, patients) and its interval over resamples of both axes."""
    mean = float(values.mean())
    low, high = interval(resampled_means(values, settings), mean)
    return {name: mean, f"{name}_low": low, f"{name}_high": high}


def resampled_means(values: Table, settings: EvaluationSettings) -> NDArray[np.float64]:
    """Return the means (bootstrap,) over resampled trainings and patients. Tables of equal shape get the same resamples."""
    trainings, patients = values.shape
    rng = np.random.default_rng(settings.seed)
    columns = rng.integers(patients, size=(settings.bootstrap, 1, patients))
    rows = rng.integers(trainings, size=(settings.bootstrap, trainings, 1))
    # Indices broadcast to (bootstrap, trainings, patients): a resample contains every pair of a drawn training and a drawn patient.
    means: NDArray[np.float64] = values[rows, columns].mean(axis=(1, 2))
    return means


def interval(drawn: NDArray[np.float64], mean: float) -> tuple[float, float]:
    """Return the 2.5th and 97.5th percentiles of resamples of a mean."""
    low, high = np.percentile(drawn, (2.5, 97.5))
    # For equal values a rounding error in the last place could put the mean outside its interval.
    return min(float(low), mean), max(float(high), mean)


def _spread(name: str, values: Table) -> dict[str, float]:
    """Standard deviation of the trainings' means; empty for a single training."""
    return {name: float(values.mean(axis=1).std(ddof=1))} if len(values) > 1 else {}


def _validation(name: str, unets: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    try:
        scores = {key: float(unets[name][key]) for key in ("val_dsc", "val_hd95_mm")}
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"models/unet/{name}/unet.json: val_dsc or val_hd95_mm is missing; run `dvc repro` to train it") from error
    return scores | {key: float(unets[name][key]) for key in ("val_dsc_seed_sd",) if key in unets[name]}


def _check_alike(folder: Path, tables: Mapping[str, ScoreTable]) -> None:
    """Raise InputError unless all tables have the same patients, and all tables of U-nets the same seeds."""
    real = tables["real"]
    for name, scores in tables.items():
        if scores.patients != real.patients:
            raise InputError(f"{folder / name}.csv: its patients are not those of real.csv; run `dvc repro` to score them all")
        if name != THRESHOLD and scores.trainings != real.trainings:
            raise InputError(f"{folder / name}.csv: its seeds are not those of real.csv; run `dvc repro` to train them all")
