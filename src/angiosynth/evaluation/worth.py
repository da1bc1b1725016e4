"""What a synthetic set is worth in patients: the number of real patients whose patches train a U-net of the same DSC.

U-nets on the real patches of few patients, of more and of all give a curve of DSC over their number. A set's DSC is looked up on it; Aydin
et al. 2024 state the worth of synthetic vessel volumes of a 3D-StyleGAN2 so. Between the points DSC is taken as linear in the logarithm
of the number. Luck can make the curve fall; it is replaced by the nearest one that does not (isotonic regression).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from angiosynth.errors import InputError
from angiosynth.evaluation.patients import TransferScore, read_scores
from angiosynth.evaluation.summary import ScoreTable, interval, resampled_means
from angiosynth.settings import REAL, EvaluationSettings


def worth_summary(
    rows: Sequence[TransferScore], folder: Path, generators: Sequence[str], trained: int, settings: EvaluationSettings
) -> dict[str, Any]:
    """The content of metrics/worth.json.

    Args:
        rows: metrics/worth.csv, scores of U-nets on the patches of subsets of patients.
        folder: metrics/patients, with the table of real and of each generator.
        generators: their names.
        trained: the number of patients that real was trained on.
        settings: number and seed of the resamples.

    Returns:
        {} without rows, else "curve": number of patients (as text) -> {"dsc", "dsc_low", "dsc_high", "n_subsets"}, the last being all;
        "sets": generator -> {"patients", "patients_low", "patients_high"}. Intervals are of resampled test patients and subsets, the same
        for curve and sets. A worth never lies beyond the curve's ends, so there it means "at most" or "at least".

    Raises:
        InputError: a table is missing or damaged, or tables differ in their test patients.
    """
    if not rows:
        return {}
    path = Path("metrics/worth.csv")
    points = {count: ScoreTable([row for row in rows if row.n_patients == count], "subset", path) for count in _counts(rows, trained)}
    points[trained] = _table(folder, REAL)
    sets = {name: _table(folder, name) for name in generators}
    if any(table.patients != points[trained].patients for table in (*points.values(), *sets.values())):
        raise InputError(f"{path}: its test patients are not those of {folder}; run `dvc repro` to score them all")
    counts = np.array(list(points))
    means = np.array([table("dsc").mean() for table in points.values()])
    resamples = np.array([resampled_means(table("dsc"), settings) for table in points.values()])  # (points, bootstrap)
    curve = {}
    for count, table, mean, drawn in zip(points, points.values(), means, resamples, strict=True):
        low, high = interval(drawn, float(mean))
        curve[str(count)] = {"dsc": float(mean), "dsc_low": low, "dsc_high": high, "n_subsets": len(table.trainings)}
    worth = {}
    for name, table in sets.items():
        patients = patients_worth(float(table("dsc").mean()), counts, means)
        pairs = zip(resampled_means(table("dsc"), settings), resamples.T, strict=True)
        low, high = interval(np.array([patients_worth(dsc, counts, points_then) for dsc, points_then in pairs]), patients)
        worth[name] = {"patients": patients, "patients_low": low, "patients_high": high}
    return {"curve": curve, "sets": worth}


def patients_worth(dsc: float, counts: NDArray[np.int64], curve: NDArray[np.float64]) -> float:
    """The number of patients at which a curve of DSC over rising `counts` reaches `dsc`; an end of `counts` where it never does."""
    rising = isotonic_regression(curve).x
    place = int(np.searchsorted(rising, dsc))  # the first point that is as good
    if place in (0, len(counts)):
        return float(counts[min(place, len(counts) - 1)])
    share = (dsc - rising[place - 1]) / (rising[place] - rising[place - 1])
    low, high = np.log2(counts[[place - 1, place]])
    return float(2.0 ** (low + share * (high - low)))


def _counts(rows: Sequence[TransferScore], trained: int) -> list[int]:
    """Numbers of patients below all of them, in rising order: with all there is the U-net on real patches."""
    return sorted({row.n_patients for row in rows if row.n_patients < trained})


def _table(folder: Path, name: str) -> ScoreTable:
    return ScoreTable(read_scores(folder / f"{name}.csv"), "seed", folder / f"{name}.csv")
