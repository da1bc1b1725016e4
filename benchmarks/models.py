"""Three models at one budget, several seeds: what each GAN's pairs are worth, the table of docs/results.md.

    python benchmarks/models.py [--seeds 1 2 3] [--models wgan-gp] > models.jsonl

Run it in a project's folder after `dvc repro patches`, with the settings of params.yaml there. For each seed: a U-net on real patches
(`real` among the models), then for each GAN training, `synthesis.pairs` pairs and a U-net on them. A seed is that of networks, batches,
synthesis and U-net; patches and patients stay.
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
from angiosynth.generators.gan.synthesis import Sampler

from angiosynth.compute.precision import device, place
from angiosynth.data.cohort import load_split
from angiosynth.data.intensity import Scan
from angiosynth.data.patches import PatchSet, open_patch_set
from angiosynth.generators.gan.models import build_generator
from angiosynth.generators.gan.training import train_gan
from angiosynth.project.workspace import Workspace
from angiosynth.runtime.checkpoint import Checkpoints
from angiosynth.runtime.memory import keep_freed_memory
from angiosynth.runtime.recorder import NullRecorder
from angiosynth.segmentation.probe import UnetProbe, validator
from angiosynth.segmentation.training import train_unet
from angiosynth.segmentation.unet import build_unet
from angiosynth.settings import MODELS, Settings, load_settings

TRAINED_ON = ("real", *MODELS)


def with_seed(settings: Settings, seed: int) -> Settings:
    """Another seed for everything but patients, patches and probe."""
    gan = settings.gan.model_copy(update={"common": settings.gan.common.model_copy(update={"seed": seed})})
    parts = {name: getattr(settings, name).model_copy(update={"seed": seed}) for name in ("synthesis", "unet")}
    return settings.model_copy(update={"gan": gan, **parts})


def made_by(model: str, settings: Settings, real: PatchSet, scans: Sequence[Scan]) -> tuple[PatchSet, dict[str, float]]:
    """Train a GAN; a synthetic set of its chosen generator, and that one's probe scores."""
    with tempfile.TemporaryDirectory(prefix="angiosynth-models-") as folder:
        probe = UnetProbe(scans, settings.probe, real)
        trained = train_gan(model, settings.gan, real, probe, Checkpoints(Path(folder)), NullRecorder())
    generator = build_generator(model, settings.gan, real.size)
    generator.load_state_dict(trained.weights)
    place(generator, device())
    own = settings.synthesis
    image, label = Sampler(generator, settings.gan, device()).pairs(own.pairs, own.seed, own.label_threshold)
    return PatchSet(image, label, np.full(len(image), ""), np.arange(len(image)), real.meta, real.folder), trained.scores


def worth(patches: PatchSet, settings: Settings, validation: Sequence[Scan], test: Sequence[Scan], what: str) -> dict[str, Any]:
    """A U-net trained on the patches, on whole scans."""
    own = settings.unet
    unet = build_unet(own.width, own.dropout, own.seed)
    trained = train_unet(
        unet, patches, own, validator(validation), NullRecorder(), validations=own.validations, augmentation=own.augmentation, what=what
    )
    patients = {"validation": validation, "test": test}
    scores = {part: [validator([scan])(trained.segmenter) for scan in scans] for part, scans in patients.items()}
    return {**trained.scores, **scores}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=TRAINED_ON, default=list(TRAINED_ON))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    options = parser.parse_args(arguments)
    keep_freed_memory()
    settings, home = load_settings(Path("params.yaml")), Workspace()
    split = load_split(home.splits, "site-a")
    real = open_patch_set(home.patches("site-a")).of_patients(split.train)
    validation, test = (home.scans(settings, "site-a", names) for names in (split.validation, split.test))
    for seed in options.seeds:
        own = with_seed(settings, seed)
        for model in options.models:
            patches, probe = (real, {}) if model == "real" else made_by(model, own, real, validation)
            row = {"model": model, "seed": seed, **probe, **worth(patches, own, validation, test, f"{model}, seed {seed}")}
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
