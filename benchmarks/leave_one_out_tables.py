"""Table and figure of benchmarks/leave_one_out.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from angiosynth.evaluation.patients import SCRATCH, THRESHOLD
from angiosynth.evaluation.worth import patients_worth
from angiosynth.report.style import Look, drawn, name_of
from angiosynth.settings import REAL
from benchmarks.models import RELABELLED

COUNTS = (1, 2, 3)
PRETRAINED = "pretrained"
TOGETHER = "+real"  # after the name of a generator whose set is joined with real patches
RESAMPLES = 10_000

Rows = list[dict[str, Any]]


def table(rows: Rows, generators: Sequence[str]) -> str:
    """Return a Markdown table: the mean over patients with its 95% bootstrap interval, and the paired gain over the threshold.

    The worth of a generator's set is the number of real patients whose patches give the same DSC: at least 1, at most all of a fold.
    """
    by = _by_training(rows)
    lines = [
        "| U-net trained on | DSC | 95% interval | gain over threshold | 95% interval | clDice | 95HD | worth, patients | second label |",
        "|---|---:|---|---:|---|---:|---:|---:|---:|",
    ]
    base, curve = (
        by[THRESHOLD, base_count(by)],
        sorted((count, scores["dsc"].mean()) for (name, count), scores in by.items() if name == REAL),
    )
    counts, levels = (np.array(column) for column in zip(*curve, strict=True))
    for (name, count), scores in by.items():
        gain = interval(scores["dsc"] - base["dsc"])
        mean, low, high = interval(scores["dsc"])
        cells = f"{gain[0]:+.3f} | {gain[1]:+.3f} to {gain[2]:+.3f}" if name != THRESHOLD else " | "
        label = _title(name, count)
        others = f"{scores['cldice'].mean():.3f} | {scores['hd95_mm'].mean():.1f}"
        drawn_set = name.removesuffix(RELABELLED) in generators
        others += f" | {patients_worth(mean, counts, levels):.1f}" if drawn_set and len(counts) > 1 else " | "
        second = scores["second_dsc"][~np.isnan(scores["second_dsc"])]
        others += f" | {second.mean():.3f}" if len(second) else " | "
        lines.append(f"| {label} | {mean:.3f} | {low:.3f} to {high:.3f} | {cells} | {others} |")
    pairs = [((PRETRAINED, count), (SCRATCH, count)) for count in COUNTS]
    pairs += [((model, base_count(by)), (REAL, base_count(by))) for model in generators]
    pairs += [((f"{model}{RELABELLED}", base_count(by)), (other, base_count(by))) for model in generators for other in (REAL, model)]
    pairs += [((f"{model}{TOGETHER}", count), (REAL, count)) for model in generators for count in COUNTS]
    for first, second in pairs:
        if first in by and second in by:
            gaps = (
                "{} {:+.3f} ({:+.3f} to {:+.3f})".format(title, *interval(by[first][metric] - by[second][metric]))
                for metric, title in (("dsc", "DSC"), ("cldice", "clDice"))
            )
            lines.append(f"\n{_title(*first)} less {_title(*second)}, paired: {', '.join(gaps)}")
    return "\n".join(lines)


def base_count(by: Mapping[tuple[str, int], Any]) -> int:
    """Return the number of training patients of a fold."""
    return max(count for name, count in by if name == THRESHOLD)


def _title(name: str, count: int) -> str:
    return f"{_name(name)}, {count} patient{'s' * (count != 1)}" if name in (SCRATCH, PRETRAINED, REAL) or TOGETHER in name else _name(name)


def _name(name: str) -> str:
    if name.endswith(RELABELLED):
        return f"{name_of(name.removesuffix(RELABELLED))}, U-net's labels"
    return f"{name_of(name.removesuffix(TOGETHER))} and real" if name.endswith(TOGETHER) else name_of(name)


def figure(rows: Rows, look: Look, path: Path) -> None:
    """Draw the DSC on each patient left out.

    Left, trainings on all patients of a fold: each patient as a dot, with the second label as a ring, and the mean. Right, the means of
    trainings on few patients over their number; a set alone stands at none.
    """
    by = _by_training(rows)
    everybody = [key for key in by if key[1] == base_count(by) and key[0] not in (SCRATCH, PRETRAINED)]
    few = list(dict.fromkeys(name for name, count in by if (name, count) not in everybody))
    with drawn(path, 9.6, 3.9) as canvas:
        left, right = canvas.subplots(1, 2)
        for place, key in enumerate(everybody):
            scores, colour = by[key], look.colour(key[0].removesuffix(RELABELLED))
            spread = np.linspace(-0.2, 0.2, len(scores["dsc"]))
            left.scatter(place + spread, scores["dsc"], s=20, color=colour, alpha=0.6, lw=0)
            left.scatter(place + spread, scores["second_dsc"], s=34, facecolors="none", edgecolors=colour, lw=1.2)
            left.scatter([place + 0.36], [scores["dsc"].mean()], s=90, color=colour, marker="_", lw=2.2)
        left.set_xticks(range(len(everybody)), [_name(name) for name, _ in everybody], fontsize=8, rotation=30, ha="right")
        left.set_title("DSC on the patient left out")
        for name in few:
            means = {count: scores["dsc"].mean() for (each, count), scores in by.items() if each == name}
            kind = name.removesuffix(TOGETHER)
            if kind != name and (kind, base_count(by)) in by:
                means[0] = by[kind, base_count(by)]["dsc"].mean()
            right.plot(
                sorted(means),
                [means[count] for count in sorted(means)],
                color=look.colour(kind),
                marker=look.marker(kind),
                label=_name(name),
            )
        right.set_xticks(range(base_count(by) + 1))
        right.set(title="DSC, mean over the patients", xlabel="real training patients")
        canvas.legend(loc="outside right center")


def _by_training(rows: Rows) -> Mapping[tuple[str, int], dict[str, np.ndarray]]:
    """Group rows: (training, number of patients) -> metric -> (patients,), sorted by test patient; NaN without a second label."""
    by: dict[tuple[str, int], Rows] = {}
    for row in sorted(rows, key=lambda row: str(row["test"])):
        by.setdefault((row["training"], row["n_patients"]), []).append(row)
    names = ("dsc", "cldice", "hd95_mm", "second_dsc")
    return {key: {name: np.array([row.get(name, np.nan) for row in group]) for name in names} for key, group in by.items()}


def interval(values: np.ndarray) -> tuple[float, float, float]:
    """Return the mean and its 95% percentile bootstrap interval over patients."""
    draws = np.random.default_rng(1).integers(len(values), size=(RESAMPLES, len(values)))
    low, high = np.percentile(values[draws].mean(axis=1), (2.5, 97.5))
    return float(values.mean()), float(low), float(high)
