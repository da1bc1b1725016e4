"""Measure the validation DSC and the seconds of changed settings, for the tables of budgets in docs/benchmarks.md.

    python -m benchmarks.budgets [--data real] [SECTION.KEY=VALUE ...] [--json]
    python -m benchmarks.budgets --data wgan-gp generators.wgan-gp.steps=750 unet.steps=250 unet.batch_size=32

Run it in a project's folder after `dvc repro patches`. It trains a U-net on real patches, or a generator and then a U-net on its pairs,
with the settings of params.yaml and the changes. Only validation patients are scored. The seconds include this scoring and the probes.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from angiosynth.data.patches import open_patch_set
from angiosynth.data.split import load_split
from angiosynth.project.workspace import Workspace
from angiosynth.runtime.memory import keep_freed_memory
from angiosynth.runtime.recorder import NullRecorder
from angiosynth.segmentation.training import train_segmenter
from angiosynth.segmentation.validation import validator
from angiosynth.settings import Settings, load_settings
from benchmarks.models import made_by


def changed(settings: Settings, changes: list[str]) -> Settings:
    """Return the settings with changes such as "unet.steps=250"; values are in JSON."""
    tree: dict[str, Any] = settings.model_dump(mode="json", by_alias=True)
    for change in changes:
        path, _, value = change.partition("=")
        *sections, key = path.split(".")
        node = tree
        for section in sections:
            node = node[section]
        node[key] = json.loads(value)
    return Settings.model_validate(tree)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="real", help="real, or a generator of params.yaml")
    parser.add_argument("changes", nargs="*", metavar="SECTION.KEY=VALUE")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    keep_freed_memory()
    settings, home = changed(load_settings(Path("params.yaml")), options.changes), Workspace()
    site = settings.cohort.source
    split = load_split(home.splits, site)
    patches = open_patch_set(home.patches(site)).of_patients(split.train)
    scans = home.scans(settings, site, split.validation)
    begun = time.monotonic()
    probe: dict[str, float] = {}
    if options.data != "real":
        patches, probe = made_by(options.data, settings, patches, scans)
    made = time.monotonic()
    scores = train_segmenter(settings.unet, patches, validator(scans), NullRecorder(), f"U-net on {options.data}").scores
    seconds = {"generator_s": round(made - begun, 1), "unet_s": round(time.monotonic() - made, 1)}
    result = {"data": options.data, "changes": options.changes, **seconds, **probe, **scores}
    for name, value in result.items():
        print(f"{name}: {value}")
    if options.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
