"""Count the errors of U-nets by kind and training data: false positives by tissue, false negatives by the vessel's calibre.

    python -m benchmarks.errors_by_kind [--models real wgan-gp] [--seeds 1 2 3] [--quick] [--json]
    python -m benchmarks.errors_by_kind --collect ROWS.jsonl ...

Run it in the folder of a project whose source is a site of the phantom, after `dvc repro`. The tissue of each voxel of a test patient is
drawn again from the patient's random numbers. By default it reads the predictions of the finished run. With --seeds it trains each
generator and U-net again with each seed, as benchmarks/models.py does, and needs only the stages up to `patches`; --quick then trains
generators of 300 steps, draws 2,000 pairs and trains U-nets of 150 steps. With --json it prints one line for each model, seed and patient,
the input of --collect, so several processes can share the models and seeds. It does not need MLflow, DVC or Optuna.

The table has the voxels of each kind in percent of the true voxels: the mean over patients and seeds, and the standard deviation of the
means over seeds.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from angiosynth.arrays import Mask
from angiosynth.data.nifti import load_mask
from angiosynth.metrics.errors_by_kind import FALSE_POSITIVES, KINDS, errors_by_kind
from angiosynth.project.workspace import Workspace
from angiosynth.runtime.memory import keep_freed_memory
from angiosynth.runtime.progress import say, tell
from angiosynth.runtime.recorder import NullRecorder
from angiosynth.segmentation.training import train_segmenter
from angiosynth.segmentation.validation import validator
from angiosynth.settings import Settings, load_settings
from benchmarks.lookalikes import Lookalikes, draw_lookalikes
from benchmarks.models import Project, made_by, open_project, with_seed


def quick(settings: Settings) -> Settings:
    """Return the settings with short trainings."""
    generators = {
        name: generator.model_copy(update={"steps": min(generator.steps, 300)}) for name, generator in settings.generators.items()
    }
    sections = {
        "synthesis": settings.synthesis.model_copy(update={"pairs": 2000}),
        "unet": settings.unet.model_copy(update={"steps": 150, "validations": 1}),
    }
    return settings.model_copy(update={"generators": generators, **sections})


@cache
def lookalikes_of(patient: str) -> Lookalikes:
    """Draw the look-alikes of a test patient of the project in the working folder."""
    settings = load_settings(Path("params.yaml"))
    site = settings.cohort.source
    return draw_lookalikes(settings.phantom.sites[site], settings.phantom.seed, int(patient.removeprefix("sub-")), site)


def row_of(model: str, seed: int, patient: str, truth: Mask, prediction: Mask) -> dict[str, Any]:
    known = lookalikes_of(patient)
    counts = errors_by_kind(truth, prediction, known.veins, known.bright)
    return {"model": model, "seed": seed, "patient": patient, "true_voxels": int(truth.sum()), **counts}


def finished(project: Project, models: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the rows of the project's existing predictions."""
    for model in models:
        for scan in project.test:
            path = Workspace().predictions(model) / f"{scan.patient}.nii.gz"
            yield row_of(model, project.settings.unet.seed, scan.patient, scan.truth, load_mask(path).volume.array > 0)


def trained(project: Project, models: Sequence[str], seeds: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Train U-nets and yield their rows."""
    for seed in seeds:
        settings = with_seed(project.settings, seed)
        for model in models:
            patches = project.real if model == "real" else made_by(model, settings, project.real, project.validation)[0]
            unet = train_segmenter(settings.unet, patches, validator(project.validation), NullRecorder(), f"{model}, seed {seed}").segmenter
            for scan in project.test:
                yield row_of(model, seed, scan.patient, scan.truth, unet.segment(scan.image, scan.brain))


def table(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Return a Markdown table: percent of the true voxels by kind, with models as columns."""
    models = list(dict.fromkeys(row["model"] for row in rows))
    yield f"| errors, percent of the true voxels | {' | '.join(models)} |"
    yield f"|---|{'---:|' * len(models)}"
    for kind in KINDS:
        cells = []
        for model in models:
            by_seed: dict[int, list[float]] = {}
            for row in rows:
                if row["model"] == model:
                    by_seed.setdefault(row["seed"], []).append(100 * row[kind] / max(1, row["true_voxels"]))
            means = [float(np.mean(values)) for values in by_seed.values()]
            spread = f" ({np.std(means, ddof=1):.1f})" if len(means) > 1 else ""
            cells.append(f"{np.mean(means):.1f}{spread}")
        name = f"{'false: ' if kind in FALSE_POSITIVES else 'missed: '}{kind.replace('_', ' ')}"
        yield f"| {name} | {' | '.join(cells)} |"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", help="real or names of generators; by default all")
    parser.add_argument("--seeds", nargs="+", type=int, help="train with these seeds; by default read the project's predictions")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--collect", nargs="+", type=Path, metavar="ROWS.jsonl")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    if options.collect:
        tell(*table([json.loads(text) for path in options.collect for text in path.read_text(encoding="utf-8").splitlines()]))
        return
    keep_freed_memory()
    settings = load_settings(Path("params.yaml"))
    project = open_project(quick(settings) if options.quick else settings)
    models = options.models or settings.training_data
    rows = []
    for row in trained(project, models, options.seeds) if options.seeds else finished(project, models):
        rows.append(row)
        tell(json.dumps(row)) if options.json else say(f"{row['model']}, seed {row['seed']}, {row['patient']}: {row['true_voxels']} voxels")
    if not options.json:
        tell(*table(rows))


if __name__ == "__main__":
    main()
