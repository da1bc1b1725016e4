"""Draw the DSC of U-nets on the sets of all generators after several training times, from rows of benchmarks/models.py.

    python -m benchmarks.models_figure OUT.png "TITLE=ROWS.jsonl" ["TITLE=ROWS.jsonl" ...]

Each TITLE is a panel with the rows that `models.py --json` printed for one training time. A dot is a seed, the mean over the test patients;
a bar is the mean over seeds. Open: labels of the generator. Filled: labels of U-nets on real patches (`--labels generator unet`). The grey
band reaches over the seeds of real patches. What lies below --least is written at the lower edge. --names sets the order of generators.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from angiosynth.report.style import Look, drawn, name_of
from angiosynth.settings import REAL
from benchmarks.models import RELABELLED, test_means

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAMES = ("flow", "r3gan", "wgan-gp-sn", "wgan-gp", "dcgan")
Rows = Sequence[dict[str, Any]]


def seeds_dsc(rows: Rows, model: str) -> np.ndarray:
    """Return the mean DSC over the test patients for each seed of a model (seeds,)."""
    return np.array([test_means(row)[0] for row in rows if row["model"] == model])


def figure(panels: Mapping[str, Rows], names: Sequence[str], least: float, path: Path) -> None:
    """Draw a panel for each title."""
    look = Look(tuple(sorted(names)))
    with drawn(path, 4.6 * len(panels), 3.9) as canvas:
        every = canvas.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axes, (title, rows) in zip(every, panels.items(), strict=True):
            panel(axes, rows, names, look, least)
            axes.set_title(title)
        every[0].set_ylabel("DSC on the test patients")
        every[0].set_ylim(bottom=least)


def panel(axes: Axes, rows: Rows, names: Sequence[str], look: Look, least: float) -> None:
    """Draw the seeds and means of one training time."""
    real = seeds_dsc(rows, REAL)
    axes.axhspan(real.min(), real.max(), color=look.colour(REAL), alpha=0.12, lw=0)
    axes.axhline(real.mean(), color=look.colour(REAL), lw=1.2)
    for place, name in enumerate(names):
        for side, model in ((-0.17, name), (0.17, name + RELABELLED)):
            scores, colour = seeds_dsc(rows, model), look.colour(name)
            if not len(scores):
                continue
            if scores.mean() < least:
                axes.annotate(f"{scores.mean():.2f}", (place + 1.4 * side, least), ha="center", va="bottom", fontsize=8, color=colour)
                continue
            filled = colour if model != name else "white"
            axes.scatter(np.full(len(scores), place + side), scores, s=26, facecolors=filled, edgecolors=colour, lw=1.3, zorder=3)
            axes.plot([place + side - 0.12, place + side + 0.12], [scores.mean()] * 2, color=colour, lw=2.4, zorder=2)
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.set_xticks(range(len(names)), [name_of(name) for name in names], fontsize=9)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="OUT.png")
    parser.add_argument("rows", nargs="+", metavar="TITLE=ROWS.jsonl")
    parser.add_argument("--names", nargs="+", default=NAMES, help="generators, left to right")
    parser.add_argument("--least", type=float, default=0.76, help="lower end of the axis")
    options = parser.parse_args(arguments)
    panels: dict[str, Rows] = {}
    for entry in options.rows:
        title, _, path = entry.rpartition("=")
        panels[title] = [json.loads(text) for text in Path(path).read_text(encoding="utf-8").splitlines()]
        if not len(seeds_dsc(panels[title], REAL)):
            parser.error(f"{path}: holds no row of model {REAL}")
    figure(panels, options.names, options.least, options.out)


if __name__ == "__main__":
    main()
