"""Figures of the privacy audit: scores of each patient (confidential), attacks from rounded numbers (for release), utility against leakage
(for the report).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from angiosynth.privacy.verdict import ATTACKS
from angiosynth.report.gallery import SPACE_TITLES
from angiosynth.report.style import Look, drawn, name_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MEMBER, OTHER = "#D55E00", "#0A84D6"


def patient_scores_figure(audit: Mapping[str, Any], path: Path) -> None:
    """Draw one dot per person: the excess in every membership attack, and the number of copies in every search for copies.

    Confidential, because anyone with a patient's scan can compute that patient's score and identify the dot.
    """
    attacks = {name: audit["membership"][name] for name, *_ in ATTACKS if name in audit["membership"]}
    with drawn(path, 10.4, 4.0) as figure:
        left, right = figure.subplots(1, 2, width_ratios=(2, 1))
        left.axhline(0.0, color="#8C8C8C", lw=1.2, ls=":")
        _draw_people(left, {name: (attack["member_excess"], attack["other_excess"]) for name, attack in attacks.items()})
        searched = (name for name in SPACE_TITLES if name in audit)
        _draw_people(right, {SPACE_TITLES[name]: (audit[name]["member_counts"], audit[name]["other_counts"]) for name in searched})
        left.set(ylabel="excess, in standard deviations", title="attacks on membership: excess over matched people")
        right.set(ylabel="synthetic patches", title="copies of each person")
        right.yaxis.get_major_locator().set_params(integer=True)
        figure.suptitle("A dot a person: for the house alone.", fontsize=10)
        figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=2)


def _draw_people(axes: Axes, values: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> None:
    """Draw one strip for each measure: values of training patients next to those of other people."""
    for place, sides in enumerate(values.values()):
        for heights, shift, colour, marker in zip(sides, (-0.16, 0.16), (MEMBER, OTHER), ("o", "D"), strict=True):
            # Dots with equal values are placed side by side.
            ranks = [sum(other == height for other in heights[:number]) for number, height in enumerate(heights)]
            steps = 0.24 / max(4, max(ranks, default=0))
            axes.scatter(place + shift + steps * (np.array(ranks) - max(ranks, default=0) / 2), heights, s=22, color=colour, marker=marker)
    axes.scatter([], [], color=MEMBER, label="training patients")
    axes.scatter([], [], color=OTHER, marker="D", label="not trained on")
    axes.set_xticks(range(len(values)), [name.replace("_", "\n").replace(" and ", "\nand ") for name in values])


def attacks_figure(shared: Mapping[str, Any], path: Path) -> None:
    """Draw AUC and interval of every attack next to those of its control.

    Args:
        shared: the numbers that may be released (`privacy.shared`).
        path: the PNG file.
    """
    attacks = [name for name, *_ in ATTACKS if name in shared["membership"]]
    with drawn(path, 8.6, 3.4) as figure:
        axes = figure.subplots()
        axes.axhline(0.5, color="#8C8C8C", lw=1.2, ls=":", label="guessing")
        axes.axhline(shared["limits"]["auc"], color="#D55E00", lw=1.2, ls="--", label="limit")
        for sign, place, name, colour in (("o", -0.12, "auc", MEMBER), ("D", 0.12, "control", OTHER)):
            for number, attack in enumerate(attacks):
                value, low, high = (shared["membership"][attack][f"{name}{end}"] for end in ("", "_low", "_high"))
                axes.errorbar(number + place, value, yerr=[[value - low], [high - value]], fmt=sign, color=colour, capsize=3)
            axes.scatter([], [], color=colour, marker=sign, label="attack" if name == "auc" else "its control, without a generator")
        axes.set_xticks(range(len(attacks)), [name.replace("_", "\n") for name in attacks])
        axes.set(ylabel="AUC", ylim=(-0.03, 1.03), title=f"who was trained on? rounded to {shared['rounded_to']:g}")
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))


def leakage_figure(evaluation: Mapping[str, Any], audits: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Draw utility against leakage.

    Left, one mark per generator: DSC of its U-net on test patients relative to that of real patches, and AUC of the nearest-image attack
    with its interval. Right, one mark per checkpoint: the same AUC, and the probe's DSC on validation patients relative to that of real
    patches.

    Args:
        evaluation: content of metrics/evaluation.json.
        audits: model -> content of audit.json.
        path: the PNG file.
    """
    looks = Look.of(evaluation)
    with drawn(path, 10.4, 3.9) as figure:
        left, right = figure.subplots(1, 2, sharex=True)
        for axes in (left, right):
            axes.axvline(0.5, color="#8C8C8C", lw=1.2, ls=":")
            for limit in {audit["limits"]["auc"] for audit in audits.values()}:
                axes.axvline(limit, color="#D55E00", lw=1.2, ls="--", label="limit")
        for model, audit in audits.items():
            ratio = evaluation["ratio_to_real"].get(model)
            if ratio is not None:
                _draw_chosen(left, audit, ratio, _mark(looks, model))
            _draw_checkpoints(right, audit, looks.marker(model), looks.colour(model))
        left.scatter([], [], facecolor="none", edgecolor="#555555", label="its control, without a generator")
        left.scatter([], [], color="#555555", s=18, label="another checkpoint (right)")
        left.set(title="chosen checkpoint: U-net, test patients", ylabel="use: DSC as a share of real's", xlim=(0, 1.02))
        right.set(title="every checkpoint: probe, validation patients")
        for axes in (left, right):
            axes.set(xlabel="leakage: AUC of the attack on membership")
            axes.margins(y=0.2)
        figure.legend(*left.get_legend_handles_labels(), loc="outside right center")


def _mark(look: Look, model: str) -> dict[str, Any]:
    """Arguments of `Axes.errorbar` for the mark of a generator."""
    return {"fmt": look.marker(model), "color": look.colour(model), "label": name_of(model)}


def _draw_chosen(axes: Axes, audit: Mapping[str, Any], ratio: float, mark: Mapping[str, Any]) -> None:
    """Draw one generator: a filled mark with its interval, and a hollow mark for its control."""
    attack = audit["membership"]["images"]
    interval = [[attack["auc"] - attack["auc_low"]], [attack["auc_high"] - attack["auc"]]]
    axes.errorbar(attack["auc"], ratio, xerr=interval, ms=8, capsize=3, **mark)
    axes.scatter([attack["control"]], [ratio], marker=mark["fmt"], facecolor="none", edgecolor=mark["color"], s=60)


def _draw_checkpoints(axes: Axes, audit: Mapping[str, Any], marker: str, colour: str) -> None:
    """Draw small marks connected in the order of training; that of the selected checkpoint is large."""
    checkpoints = [checkpoint for checkpoint in audit["checkpoints"] if checkpoint["probe_dsc_real"] > 0]
    points = [
        (checkpoint["auc"], checkpoint["probe_dsc"] / checkpoint["probe_dsc_real"], checkpoint["chosen"]) for checkpoint in checkpoints
    ]
    axes.plot([auc for auc, _, _ in points], [ratio for _, ratio, _ in points], color=colour, lw=1.0, alpha=0.6)
    for auc, ratio, selected in points:
        axes.scatter([auc], [ratio], marker=marker, color=colour, s=64 if selected else 18)
