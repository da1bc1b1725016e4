"""Stages summary and report: the tables joined, the figures, the page."""

from __future__ import annotations

from typing import Any

from angiosynth.evaluation.patients import THRESHOLD, evaluation_summary, transfer_summary
from angiosynth.runtime.output import read_json, write_json
from angiosynth.settings import TRAINING_DATA, Settings
from angiosynth.stages.workspace import Workspace


def summary(settings: Settings, home: Workspace) -> None:
    """Join the patients' tables into metrics/evaluation.json and metrics/transfer.json."""
    baseline = read_json(home.predictions(THRESHOLD) / "threshold.json")
    chosen = {data: read_json(home.unet(data) / "unet.json") for data in TRAINING_DATA}
    if "val_dsc" in baseline:
        chosen[THRESHOLD] = baseline
    evaluation = evaluation_summary(home.metrics / "patients", chosen, baseline["threshold"], settings.evaluation)
    write_json(home.metrics / "evaluation.json", evaluation)
    write_json(home.metrics / "transfer.json", transfer_summary(home.metrics / "transfer", settings.evaluation))


def table(home: Workspace) -> str:
    """The results as lines of text, for a terminal."""
    evaluation: dict[str, Any] = read_json(home.metrics / "evaluation.json")
    transfer: dict[str, Any] = read_json(home.metrics / "transfer.json")
    lines = [f"{'trained on':<14}{'DSC':>7}  {'95% interval':<15}{'95HD mm':>8}{'max mm':>8}{'of real':>9}{'val DSC':>9}"]
    for data in (*TRAINING_DATA, THRESHOLD):
        row = evaluation[data]
        ratio = evaluation["ratio_to_real"].get(data)
        interval = f"{row['dsc_low']:.3f}..{row['dsc_high']:.3f}"
        share = f"{ratio:.3f}" if ratio is not None else ""
        validation = f"{row['val_dsc']:.3f}" if "val_dsc" in row else ""
        lines.append(f"{data:<14}{row['dsc']:>7.3f}  {interval:<15}{row['hd95_mm']:>8.2f}{row['hd_mm']:>8.1f}{share:>9}{validation:>9}")
    chosen = evaluation["chosen_by_validation"]
    lines += ["", f"chosen by validation patients: {chosen}; synthetic to real DSC on {evaluation['real']['n_patients']} test patients: "]
    lines[-1] += f"{evaluation['ratio_to_real'][chosen]:.3f}" if evaluation["ratio_to_real"][chosen] is not None else "undefined"
    counts = sorted({int(count) for points in transfer.values() for count in points})
    if counts:
        lines += ["", f"{'transfer from':<14}" + "".join(f"{f'{count} patients':>12}" for count in counts)]
        for start, points in transfer.items():
            cells = (f"{points[str(count)]['dsc']:.3f}" if str(count) in points else "" for count in counts)
            lines.append(f"{start:<14}" + "".join(f"{cell:>12}" for cell in cells))
    return "\n".join(lines)
