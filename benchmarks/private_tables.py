"""Table and figure of benchmarks/private_phantom.py."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from angiosynth.report.style import drawn

LOOK: dict[str, Any] = {"marker": "o", "markersize": 4, "capsize": 2, "linewidth": 1.2}  # of the figure's lines
LEVELS: dict[str, Any] = {"real": "-", "wgan-gp": (0, (6, 1, 1, 1, 1, 1)), "hidden settings": "--", "ranges": "-.", "defaults": ":"}
UNPROMISED = ("real", "wgan-gp")  # instead of an epsilon


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown, means over seeds and test patients; the spread is that of the seeds' means."""
    lines = ["| hospital | set | patients | epsilon | settings | statistics | DSC | deviation over seeds | seeds |"]
    lines.append("|---|---|---:|---:|---:|---:|---:|---:|---:|")
    by_key: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        by_key.setdefault((row["hospital"], row["drawing"], row["patients"], row["epsilon"]), []).append(row)
    for (hospital, drawing, count, epsilon), same in sorted(by_key.items(), key=lambda item: (item[0][0], *order(item[1][0]))):
        cells = [f"{np.mean([row[name] for row in same]):.2f}" if name in same[0] else "-" for name in ("settings", "statistics")]
        means = [float(np.mean(row["dsc"])) for row in same if "dsc" in row]
        score = f"{np.mean(means):.3f}" if means else "-"
        spread = f"{np.std(means, ddof=1):.3f}" if len(means) > 1 else "-"
        shown = epsilon if count and drawing not in UNPROMISED else "-"
        lines.append(f"| {hospital} | {drawing} | {count or 'none'} | {shown} | {' | '.join(cells)} | {score} | {spread} | {len(same)} |")
    return "\n".join(lines)


def order(row: dict[str, Any]) -> tuple[Any, ...]:
    unpromised = row["epsilon"] in UNPROMISED
    return unpromised, row["patients"], math.inf if unpromised else float(row["epsilon"]), row["drawing"]


def figure(rows: Sequence[dict[str, Any]], path: Path, drawing: str) -> None:
    """DSC over epsilon, a line for each number of patients with the range over seeds, a panel for each hospital."""
    hospitals, shown = sorted({row["hospital"] for row in rows}), [row for row in rows if row["drawing"] == drawing and "dsc" in row]
    ticks, counts = sorted({float(row["epsilon"]) for row in shown}), sorted({row["patients"] for row in shown})  # of all panels
    with drawn(path, 4.5 * len(hospitals), 3.6) as canvas:
        for place, hospital in enumerate(hospitals, 1):
            axes = canvas.add_subplot(1, len(hospitals), place)
            here = [row for row in rows if row["hospital"] == hospital and "dsc" in row]
            for level, style in LEVELS.items():
                if values := [np.mean(row["dsc"]) for row in here if row["drawing"] == level]:
                    axes.axhline(float(np.mean(values)), color="black", linestyle=style, linewidth=1, label=level)
            private = [row for row in here if row["drawing"] == drawing]
            for shift, count in enumerate(counts):
                groups = [[float(np.mean(r["dsc"])) for r in private if r["patients"] == count and float(r["epsilon"]) == e] for e in ticks]
                seen = [(index + 0.06 * shift, values) for index, values in enumerate(groups) if values]
                if not seen:
                    continue
                places, means = [index for index, _ in seen], np.array([np.mean(values) for _, values in seen])
                ends = np.array([[np.mean(v) - min(v), max(v) - np.mean(v)] for _, v in seen]).T
                axes.errorbar(places, means, yerr=ends, color=f"C{shift}", label=f"{count} patients", **LOOK)
            axes.set_xticks(range(len(ticks)), [f"{tick:g}" for tick in ticks])
            axes.set(title=hospital, xlabel="epsilon of a patient", ylabel="DSC")
            axes.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)  # below: levels lie all over the panel
