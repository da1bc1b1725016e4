"""Saved MLflow view of each experiment: columns for scores, and a plot of scores over settings.

MLflow stores a saved view as a tag of the experiment. Its pages list it under "Views", and `?viewStateShareKey=scores` opens it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

VIEW = "scores"
TAG = f"mlflow.sharedViewState.{VIEW}"
VALIDATION = ("val_dsc", "val_hd95_mm")
TEST = ("test_dsc", "test_hd95_mm")
# Settings that all models have, because the plot omits runs without one of them.
GENERATOR = ("model", "generator.kind", "generator.steps", "generator.batch_size", "generator.width")
SWEEP = ("model", "generator.critic_iterations", "generator.learning_rate_generator", "generator.learning_rate_critic")
SETTINGS: Mapping[str, tuple[str, ...]] = {
    "generator": GENERATOR,
    "unet": ("data", "unet.learning_rate", "unet.dropout", "unet.seed"),
    "transfer": ("start", "site", "n_patients", "transfer.learning_rate"),
    "sweep": SWEEP,
}
MADE_MS = 1_767_225_600_000  # required creation time of a view, fixed to 2026-01-01
SECTIONS = {"Scores": "scores", "Model metrics": "model-metrics", "System metrics": "system-metrics"}  # name -> id, in display order


def saved_view(experiment: str) -> str | None:
    """Return the value of the tag for an experiment; None if its runs have no scores to compare."""
    if experiment not in SETTINGS:
        return None
    settings = SETTINGS[experiment]
    scores = VALIDATION if experiment == "sweep" else (*VALIDATION, *TEST)
    chart = {
        "uuid": f"{experiment}-scores",
        "type": "PARALLEL",
        "displayName": "DSC and 95HD over settings",
        "metricSectionId": SECTIONS["Scores"],
        "selectedParams": list(settings),
        "selectedMetrics": list(VALIDATION),
        "showAllRuns": True,
        "runsCountToCompare": 100,
        "isGenerated": False,
        "deleted": False,
    }
    shown = {"display": True, "isReordered": True, "deleted": False}
    sections = [
        {"uuid": key, "name": name, **shown, "isGenerated": name != "Scores", "columns": 1 if name == "Scores" else 3}
        for name, key in SECTIONS.items()
    ]
    state = {
        "orderByKey": f"metrics.`{VALIDATION[0]}`",
        "orderByAsc": False,
        "selectedColumns": [*(f"metrics.`{name}`" for name in scores), *(f"params.`{name}`" for name in settings)],
        "runsHiddenMode": "SHOW_ALL",
        "compareRunCharts": [chart],
        "compareRunSections": sections,
        "isAccordionReordered": True,
    }
    return json.dumps({"name": "Scores", "createdAt": MADE_MS, "updatedAt": MADE_MS, "state": json.dumps(state)})
