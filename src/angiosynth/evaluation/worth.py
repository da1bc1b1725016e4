"""Worth of a synthetic set: the number of real patients whose patches train a U-net with the same DSC.

U-nets trained on the real patches of different numbers of patients give a learning curve of DSC over number of patients. The DSC of a
synthetic set is looked up on it, as Aydin et al. 2024 do for vessel volumes of a 3D-StyleGAN2. Between the points DSC is interpolated
linearly in the logarithm of the number. By chance the measured curve can fall; isotonic regression replaces it with the nearest
non-decreasing one, so that the lookup is unique.

A lab that receives a set has some patients of its own. U-nets on a set together with the real patches of few patients stand beside those
on these patches alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from angiosynth.errors import InputError
from angiosynth.evaluation.patients import TransferScore, read_scores
from angiosynth.evaluation.summary import ScoreTable, gain, interval, resampled_means, transfer_point
from angiosynth.settings import REAL, EvaluationSettings


def worth_summary(
    scored: Mapping[str, Sequence[TransferScore]], folder: Path, trained: int, settings: EvaluationSettings
) -> dict[str, Any]:
    """Compute the content of metrics/worth.json.

    Args:
        scored: metrics/worth/<data>.csv of real and of each generator: scores of U-nets trained on the patches of subsets of patients, of a
            generator together with its set.
        folder: metrics, whose folder patients has the table of real and of each generator.
        trained: number of patients on which the U-net of real was trained.
        settings: number and seed of the resamples.

    Returns:
        {} without rows of real, otherwise "curve": number of patients (as text) -> {"dsc", "dsc_low", "dsc_high", "n_subsets"}, the last
        point with all patients; "sets": generator -> {"patients", "patients_low", "patients_high"}; and "together": generator with rows ->
        number of patients -> scores as in `transfer_summary`, with the gain over these patients alone. Intervals come from resampled test
        patients and subsets; curve and sets use the same resamples. A worth is clipped to the ends of the curve, where it means "at most"
        or "at least".

    Raises:
        InputError: a table is missing or damaged, or tables differ in their test patients or subsets.
    """
    rows, generators = scored[REAL], [name for name in scored if name != REAL]
    if not rows:
        return {}
    path, patients = folder / "worth" / f"{REAL}.csv", folder / "patients"
    points = {count: ScoreTable([row for row in rows if row.n_patients == count], "subset", path) for count in _counts(rows, trained)}
    points[trained] = _table(patients, REAL)
    sets = {name: _table(patients, name) for name in generators}
    if any(table.patients != points[trained].patients for table in (*points.values(), *sets.values())):
        raise InputError(f"{path}: its test patients are not those of {patients}; run `dvc repro` to score them all")
    # the learning curve: mean DSC at each number of patients, and its resamples
    counts = np.array(list(points))
    means = np.array([table("dsc").mean() for table in points.values()])
    resamples = np.array([resampled_means(table("dsc"), settings) for table in points.values()])  # (points, bootstrap)
    curve = {}
    for count, table, mean, drawn in zip(points, points.values(), means, resamples, strict=True):
        low, high = interval(drawn, float(mean))
        curve[str(count)] = {"dsc": float(mean), "dsc_low": low, "dsc_high": high, "n_subsets": len(table.trainings)}
    # look up each set on the curve, and each resample of the set on the same resample of the curve
    worth = {}
    for name, table in sets.items():
        number = patients_worth(float(table("dsc").mean()), counts, means)
        pairs = zip(resampled_means(table("dsc"), settings), resamples.T, strict=True)
        low, high = interval(np.array([patients_worth(dsc, counts, points_then) for dsc, points_then in pairs]), number)
        worth[name] = {"patients": number, "patients_low": low, "patients_high": high}
    together = {name: _together(scored[name], rows, path.with_name(f"{name}.csv"), settings) for name in generators if scored[name]}
    return {"curve": curve, "sets": worth, "together": together}


def patients_worth(dsc: float, counts: NDArray[np.int64], curve: NDArray[np.float64]) -> float:
    """Return the number of patients at which a learning curve reaches `dsc`, clipped to the ends of `counts`.

    Args:
        dsc: the DSC to look up.
        counts: (points,) numbers of patients, ascending.
        curve: (points,) DSC at each count.
    """
    rising = isotonic_regression(curve).x
    place = int(np.searchsorted(rising, dsc))  # the first point that is at least as good
    if place in (0, len(counts)):
        return float(counts[min(place, len(counts) - 1)])
    # Interpolate between the two points around it, linearly in the logarithm of the number of patients.
    share = (dsc - rising[place - 1]) / (rising[place] - rising[place - 1])
    low, high = np.log2(counts[[place - 1, place]])
    return float(2.0 ** (low + share * (high - low)))


def _together(
    rows: Sequence[TransferScore], alone: Sequence[TransferScore], path: Path, settings: EvaluationSettings
) -> dict[str, dict[str, float | int]]:
    """Scores of a set together with the patches of few patients, by their number, and the gain over these patches alone."""
    points = {}
    for count in sorted({row.n_patients for row in rows}):
        joint, base = ([row for row in table if row.n_patients == count] for table in (rows, alone))
        scores = transfer_point(ScoreTable(joint, "subset", path), settings)
        points[str(count)] = scores | gain(joint, base, path, path.with_name(f"{REAL}.csv"), settings)
    return points


def _counts(rows: Sequence[TransferScore], trained: int) -> list[int]:
    """Numbers of patients in ascending order, without the full cohort, for which the U-net of real patches is used."""
    return sorted({row.n_patients for row in rows if row.n_patients < trained})


def _table(folder: Path, name: str) -> ScoreTable:
    return ScoreTable(read_scores(folder / f"{name}.csv"), "seed", folder / f"{name}.csv")
