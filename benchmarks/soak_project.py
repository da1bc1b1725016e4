"""The scratch projects of `benchmarks/soak.py`: tiny volumes, the code of this checkout, committed to git."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import yaml

from angiosynth.settings import Settings
from tests.factories import changed, tiny_tree
from tests.pipeline import write_project

SIZES = {  # long enough that kills come within trainings, with several checkpoints each
    "threads": 1,
    "generator_defaults__checkpoint_every": 5,
    "unet__steps": 40,
    "transfer__steps": 20,
    "selection": {"learning_rate": [0.001, 0.002]},
}
GENERATOR_STEPS = 40


def environment() -> dict[str, str]:
    """A user's, without settings of DVC, MLflow and git, on one thread."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "DVC_", "ANGIOSYNTH_", "GIT_"))}
    quiet = {"DVC_NO_ANALYTICS": "1", "MLFLOW_DISABLE_TELEMETRY": "true", "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    return {**kept, **quiet, "PYTHONPATH": "src", "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def settings_text() -> str:
    """params.yaml of the two projects: tiny volumes, all generators of the paper, two sites, each section in full as DVC asks for it."""
    tree = changed(tiny_tree(), SIZES)
    for entry in tree["generators"].values():
        entry["steps"] = GENERATOR_STEPS
    full = Settings.model_validate(tree).model_dump(mode="json", by_alias=True)
    full["phantom"]["sites"] = tree["phantom"]["sites"]
    return yaml.safe_dump({**full, "generators": tree["generators"]})


def new_project(folder: Path) -> Path:
    """A project with the code of this checkout, committed to git."""
    folder.mkdir(parents=True)
    write_project(folder, settings_text(), environment())
    return folder
