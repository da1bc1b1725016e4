"""Stage summary: join the patient tables and compute their statistics."""

from __future__ import annotations

from pathlib import Path

from angiosynth.data.split import load_split
from angiosynth.errors import InputError
from angiosynth.evaluation.patients import THRESHOLD, read_scores, read_transfer, write_all_scores
from angiosynth.evaluation.summary import evaluation_summary, transfer_summary
from angiosynth.evaluation.worth import worth_summary
from angiosynth.project.workspace import Workspace, validation_over_seeds
from angiosynth.runtime.output import read_json, write_json
from angiosynth.settings import Settings

LARGEST_THRESHOLD = 1.01  # thresholds may lie half a grey level outside the range of scans


def summary(settings: Settings, home: Workspace) -> None:
    """Write all patient tables to metrics/evaluation.csv, and their statistics to evaluation.json, transfer.json and worth.json."""
    baseline = _baseline(home.predictions(THRESHOLD) / "threshold.json")
    validated = {data: validation_over_seeds(home.unet(data)) for data in settings.training_data}
    if "val_dsc" in baseline:
        validated[THRESHOLD] = baseline
    evaluation = evaluation_summary(home.metrics / "patients", validated, baseline["threshold"], settings.evaluation)
    scores = {name: read_scores(home.metrics / "patients" / f"{name}.csv") for name in (*settings.training_data, THRESHOLD)}
    write_all_scores(home.metrics / "evaluation.csv", scores)
    write_json(home.metrics / "evaluation.json", evaluation)
    write_json(home.metrics / "transfer.json", transfer_summary(home.metrics / "transfer", settings.evaluation))
    trained = len(load_split(home.splits, settings.cohort.source).train)
    tables = {data: read_transfer(home.metrics / "worth" / f"{data}.csv") for data in settings.training_data}
    worth = worth_summary(tables, home.metrics, trained, settings.evaluation)
    write_json(home.metrics / "worth.json", worth)


def _baseline(path: Path) -> dict[str, float]:
    """Read the threshold, in [-1, 1], and its validation scores if there are any."""
    content = read_json(path)
    try:
        numbers = {name: float(content[name]) for name in ("threshold", "val_dsc", "val_hd95_mm") if name == "threshold" or name in content}
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: damaged; run `dvc repro` to make it anew") from error
    if not -LARGEST_THRESHOLD <= numbers["threshold"] <= LARGEST_THRESHOLD:
        raise InputError(f"{path}: threshold {numbers['threshold']:g} is beyond [-1, 1], where scans lie; run `dvc repro` to make it anew")
    return numbers
