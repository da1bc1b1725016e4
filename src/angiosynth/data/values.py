"""Format the values of a volume for messages."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

RUNS_SHOWN = 200  # in a message; an atlas has fewer classes


def value_runs(values: NDArray[Any]) -> str:
    """Format distinct sorted values as runs, such as "1-13, 16, 20.5"; for more than 200 runs state number and range."""
    runs: list[list[float]] = []
    for value in values.tolist():
        if runs and value == runs[-1][-1] + 1 and float(value).is_integer():
            runs[-1].append(value)
        else:
            runs.append([value])
    if len(runs) > RUNS_SHOWN:
        return f"{len(values)} values from {values[0]:g} to {values[-1]:g}"
    return ", ".join(f"{run[0]:g}-{run[-1]:g}" if len(run) > 2 else ", ".join(f"{value:g}" for value in run) for run in runs)
