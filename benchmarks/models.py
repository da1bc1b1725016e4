"""All generators at one budget, several seeds: what each one's pairs are worth, the table of docs/results.md.

    python benchmarks/models.py [--seeds 1 2 3] [--models wgan-gp] > models.jsonl

Run it in a project's folder after `dvc repro patches`, with the settings of params.yaml there. For each seed: a U-net on real patches
(`real` among the models), then for each generator its training, `synthesis.pairs` pairs and a U-net on them. A seed is that of networks,
batches, synthesis and U-net; patches and patients stay.
One JSON object a line: probe scores, validation scores, and DSC and 95HD of every validation and test patient.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from angiosynth.compute.precision import device
from angiosynth.data.intensity import Scan
from angiosynth.data.patches import PatchSet, open_patch_set
from angiosynth.data.split import load_split
from angiosynth.generators.registry import family_of
from angiosynth.project.workspace import Workspace
from angiosynth.runtime.checkpoint import Checkpoints
from angiosynth.runtime.memory import keep_freed_memory
from angiosynth.runtime.recorder import NullRecorder
from angiosynth.segmentation.probe import UnetProbe
from angiosynth.segmentation.training import train_segmenter
from angiosynth.segmentation.validation import validation_scores, validator
from angiosynth.settings import Settings, load_settings


def with_seed(settings: Settings, seed: int) -> Settings:
    """Another seed for everything but patients, patches and probe."""
    generators = {name: own.model_copy(update={"seed": seed}) for name, own in settings.generators.items()}
    parts = {name: getattr(settings, name).model_copy(update={"seed": seed}) for name in ("synthesis", "unet")}
    return settings.model_copy(update={"generators": generators, **parts})


def made_by(model: str, settings: Settings, real: PatchSet, scans: Sequence[Scan]) -> tuple[PatchSet, dict[str, float]]:
    """Train a generator; a synthetic set of the chosen one, and its probe scores."""
    generator, own = settings.generator(model), settings.synthesis
    family = family_of(generator)
    with tempfile.TemporaryDirectory(prefix="angiosynth-models-") as folder:
        probe = UnetProbe(scans, settings.probe, real)
        trained = family.train(model, generator, real, probe, Checkpoints(Path(folder)), NullRecorder())
    image, label = family.sampler(generator, real.size, trained.weights, device()).pairs(own.pairs, own.seed, own.label_threshold)
    return PatchSet(image, label, np.full(len(image), ""), np.arange(len(image)), real.meta, real.folder), trained.scores


def worth(patches: PatchSet, settings: Settings, validation: Sequence[Scan], test: Sequence[Scan], title: str) -> dict[str, Any]:
    """A U-net trained on the patches, on whole scans."""
    trained = train_segmenter(settings.unet, patches, validator(validation), NullRecorder(), title)
    patients = {"validation": validation, "test": test}
    scores = {
        part: [validation_scores([scan], lambda scan: trained.segmenter.segment(scan.image, scan.brain)) for scan in scans]
        for part, scans in patients.items()
    }
    return {**trained.scores, **scores}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", help="real or names of generators; by default all")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    options = parser.parse_args(arguments)
    keep_freed_memory()
    settings, home = load_settings(Path("params.yaml")), Workspace()
    site = settings.cohort.source
    split = load_split(home.splits, site)
    real = open_patch_set(home.patches(site)).of_patients(split.train)
    validation, test = (home.scans(settings, site, names) for names in (split.validation, split.test))
    for seed in options.seeds:
        own = with_seed(settings, seed)
        for model in options.models or settings.training_data:
            patches, probe = (real, {}) if model == "real" else made_by(model, own, real, validation)
            row = {"model": model, "seed": seed, **probe, **worth(patches, own, validation, test, f"{model}, seed {seed}")}
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
