"""Figures of a sweep: Pareto front, hypervolume over trials, importances, parallel coordinates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from angiosynth.report.style import ACCENT, EXTRA, FIXED, VESSEL, drawn

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Point = tuple[int, float, float]  # trial number, DSC, hd95_mm
Value = float | str
OBJECTIVES = {"val_dsc": "DSC", "val_hd95_mm": "95HD"}
FAINT = FIXED["threshold"][0]


def sweep_figures(study: Mapping[str, Any], folder: Path) -> dict[str, Path]:
    """Draw the four figures of sweeps/<study>.json into a folder; returns name -> PNG file, {} before the first complete trial."""
    done = [trial for trial in study["trials"] if trial["val_dsc"] is not None]
    if not done:
        return {}
    paths = {name: folder / f"{name}.png" for name in ("front", "hypervolume", "importances", "parallel")}
    front = study["front"]
    front_figure([(trial["number"], trial["val_dsc"], trial["val_hd95_mm"]) for trial in done], front, paths["front"], study["knee"])
    hypervolume_figure([(number, share) for number, share in study["hypervolume"]], paths["hypervolume"])
    importances_figure(study["importances"], paths["importances"])
    lines = [(trial["params"], trial["val_dsc"], trial["val_hd95_mm"]) for trial in done]
    parallel_figure(lines, [trial["number"] in front for trial in done], paths["parallel"])
    return paths


def front_figure(points: Sequence[Point], front: Sequence[int], path: Path, knee: int | None = None) -> None:
    """Draw both scores of every complete trial, with the Pareto front as a numbered line and a ring around its knee.

    Args:
        points: the complete trials.
        front: numbers of the trials on the front.
        path: the PNG file.
        knee: number of the trial at the knee.
    """
    with drawn(path, 6.2, 4.2) as figure:
        axes = figure.subplots()
        rest = [(dsc, hd95_mm) for number, dsc, hd95_mm in points if number not in front]
        best = sorted((dsc, hd95_mm, number) for number, dsc, hd95_mm in points if number in front)
        axes.scatter(*_columns(rest), s=30, color=FAINT, lw=0, label="other trials")
        axes.plot(*_columns([point[:2] for point in best]), color=ACCENT, marker="o", ms=7, lw=1.6, label="Pareto front")
        for dsc, hd95_mm, number in best:
            axes.annotate(str(number), (dsc, hd95_mm), xytext=(7, 5), textcoords="offset points", fontsize=9)
            if number == knee:
                axes.scatter([dsc], [hd95_mm], s=190, facecolors="none", edgecolors=VESSEL, lw=2.2, label="knee", zorder=4)
        axes.set(title="validation patients: best is down and right", xlabel="DSC", ylabel="95HD in mm")
        axes.margins(0.08)
        axes.legend(loc="best")


def hypervolume_figure(volumes: Sequence[tuple[int, float]], path: Path) -> None:
    """Draw the hypervolume of the front after each trial, given as (number, fraction of the box)."""
    with drawn(path, 6.2, 3.2) as figure:
        axes = figure.subplots()
        axes.step(*_columns(volumes), where="post", color=ACCENT, lw=1.8)
        axes.set(title="hypervolume: more is better, flat is searched out", xlabel="trial", ylabel="share of the box")
        axes.locator_params(axis="x", integer=True)
        axes.margins(x=0.03, y=0.1)


def importances_figure(importances: Mapping[str, Mapping[str, float]], path: Path) -> None:
    """Draw the importance of each value for reaching the best quarter of trials: objective -> value -> fraction of 1.

    Without importances the figure states that there are too few trials.
    """
    names = sorted({name for shares in importances.values() for name in shares}, key=lambda name: -_total(importances, name))
    with drawn(path, 6.8, 1.4 + 0.45 * max(len(names), 2)) as figure:
        axes = figure.subplots()
        axes.set_title("importance (PED-ANOVA)")
        if not names:
            axes.text(0.5, 0.5, "too few complete trials to tell", transform=axes.transAxes, ha="center", color="#555555")
            axes.set(xticks=[], yticks=[])
            return
        places = np.arange(len(names))[::-1]
        for (objective, shares), offset, colour in zip(importances.items(), (0.19, -0.19), (EXTRA, VESSEL), strict=False):
            label = OBJECTIVES.get(objective, objective)
            axes.barh(places + offset, [shares.get(name, 0.0) for name in names], height=0.36, color=colour, label=label)
        axes.set_yticks(places, [_words(name) for name in names])
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("share")
        axes.legend(loc="best")


def parallel_figure(rows: Sequence[tuple[Mapping[str, Value], float, float]], front: Sequence[bool], path: Path) -> None:
    """Draw each complete trial as a line across its values and scores; trials of the front are coloured and on top.

    Args:
        rows: (values, DSC, hd95_mm) of the complete trials.
        front: whether each trial is on the front.
        path: the PNG file.
    """
    names = list(dict.fromkeys(name for values, _, _ in rows for name in values))
    columns = {_words(name): [values.get(name, float("nan")) for values, _, _ in rows] for name in names}
    columns |= {"DSC": [dsc for _, dsc, _ in rows], "95HD in mm": [hd95_mm for _, _, hd95_mm in rows]}
    with drawn(path, 1.6 * len(columns) + 0.8, 4.0) as figure:
        axes = figure.subplots()
        heights = np.array([_axis(axes, place, label, list(column)) for place, (label, column) in enumerate(columns.items())])
        for trial, best in sorted(enumerate(front), key=lambda pair: pair[1]):
            colour, width = (ACCENT, 1.8) if best else (FAINT, 0.8)
            axes.plot(np.arange(len(columns)), heights[:, trial], color=colour, lw=width, alpha=1.0 if best else 0.5)
        axes.set(xlim=(-0.5, len(columns) - 0.3), ylim=(-0.12, 1.08), yticks=[])
        axes.set_xticks(range(len(columns)), list(columns), fontsize=9)
        axes.grid(visible=False)
        for side in ("left", "bottom"):
            axes.spines[side].set_visible(False)
        axes.set_title("every trial a line, those of the Pareto front in colour")


def _axis(axes: Axes, place: int, label: str, column: list[Value]) -> list[float]:
    """Draw one vertical axis with the values at its ends; returns heights 0..1. Ranges of more than a decade are logarithmic."""
    axes.axvline(place, color="#555555", lw=0.8, zorder=1)
    if any(isinstance(value, str) for value in column):
        choices = sorted({str(value) for value in column})
        for number, choice in enumerate(choices):
            axes.text(place + 0.05, number / max(len(choices) - 1, 1), choice, fontsize=8, va="center")
        return [choices.index(str(value)) / max(len(choices) - 1, 1) for value in column]
    values = np.array(column, float)
    low, high = (float(np.nanmin(values)), float(np.nanmax(values))) if len(values) else (0.0, 1.0)
    for end, height in ((low, -0.06), (high, 1.04)):
        axes.text(place, height, f"{end:.3g}", fontsize=8, ha="center")
    if low > 0 and high / low > 10:
        values, low, high = np.log(values), float(np.log(low)), float(np.log(high))
    scaled: list[float] = ((values - low) / ((high - low) or 1.0)).tolist()
    return scaled


def _columns(points: Sequence[tuple[float, ...]]) -> tuple[list[float], list[float]]:
    return [point[0] for point in points], [point[1] for point in points]


def _total(importances: Mapping[str, Mapping[str, float]], name: str) -> float:
    return sum(shares.get(name, 0.0) for shares in importances.values())


def _words(name: str) -> str:
    """Format a field name in two short lines: learning_rate_critic -> "learning rate / critic"."""
    tokens = name.split("_")
    return f"{' '.join(tokens[:-1])}\n{tokens[-1]}" if len(tokens) > 1 else name
