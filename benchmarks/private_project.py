"""Sets of private evolution in a whole project: as pre-training for a second site with one patient, and under the audit's attacks.

    python -m benchmarks.private_project FOLDER [--epsilons 8 0.01] [--json]

A project of two drawn sites is made in FOLDER, with the settings of profile demo but for the volumes, which are small (96x112x24 voxels of
1.6x1.6x2 mm). Its source is hospital "dim" of benchmarks/private_hospitals.py: 20 patients vote, 10 are held out for the audit. The second
site is the demo's, another scanner, of whose patients one trains. Each epsilon is a generator of its own; at 0.01 noise drowns all votes,
so its set is that of the phantom's public ranges. The stages of a project run one after the other, with nothing tracked; what FOLDER has
already is kept, so that a call which was stopped goes on. Noise is seeded: such sets are for measuring alone.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from angiosynth.evaluation.patients import SCRATCH, read_scores, read_transfer
from angiosynth.project.workspace import Workspace
from angiosynth.runtime.output import read_json
from angiosynth.runtime.progress import say, tell
from angiosynth.settings import REAL, Settings
from angiosynth.stages.audit import audit
from angiosynth.stages.audit_references import audit_references
from angiosynth.stages.cohort import cohort
from angiosynth.stages.evaluate import evaluate
from angiosynth.stages.patches import patches
from angiosynth.stages.phantom import phantom
from angiosynth.stages.select_unet import select_unet
from angiosynth.stages.synthesize import synthesize
from angiosynth.stages.train_generator import train_generator
from angiosynth.stages.train_unet import train_unet
from angiosynth.stages.transfer import transfer
from benchmarks.private_hospitals import CUT, HOSPITALS, SCANNER_KEYS, SHAPE, SIZE, SPACING_MM
from benchmarks.private_phantom import PAIRS, UNET

SOURCE = "dim"
SPLITS = {"site-a": {"train": 20, "validation": 2, "test": 4, "held_out": 10}, "site-b": {"train": 1, "validation": 1, "test": 3}}


def settings_of(profile: Path, epsilons: Sequence[float]) -> Settings:
    """Those of the profile, with small volumes, the two sites, and a generator for each epsilon."""
    tree: dict[str, Any] = yaml.safe_load(profile.read_text(encoding="utf-8"))
    grid = {"shape": list(SHAPE), "spacing_mm": list(SPACING_MM)}
    sites = tree["phantom"]["sites"]
    sites["site-a"] = {key: getattr(HOSPITALS[SOURCE], key) for key in SCANNER_KEYS}
    for name, split in SPLITS.items():
        sites[name] |= {"patients": sum(split.values()), **grid}
        tree["cohort"]["sites"][name]["split"] = split
    tree["patches"] |= {"size": SIZE, "on_vessels": CUT.on_vessels, "on_bright": CUT.on_bright, "in_brain": CUT.in_brain}
    tree["generators"] = {
        model_of(epsilon): {"kind": "private-phantom", "epsilon": epsilon, "noise_source": "seeded", **grid} for epsilon in epsilons
    }
    tree["synthesis"]["pairs"] = PAIRS
    tree["unet"] |= {"width": UNET.width, "steps": UNET.steps, "learning_rate": UNET.learning_rate}
    tree["transfer"]["patients"] = [1]
    return Settings.model_validate(tree)


def model_of(epsilon: float) -> str:
    return f"private-phantom-{epsilon:g}".replace(".", "-")


def run_stages(settings: Settings) -> None:
    """All stages that the folder has not been through, in the current folder."""
    home = Workspace()
    models = list(settings.generators)
    stages: list[tuple[Path, Callable[[], None]]] = [
        (home.root / "data" / "phantom", partial(phantom, settings, home)),
        (home.splits, partial(cohort, settings, home)),
        (home.root / "data" / "patches", partial(patches, settings, home)),
        (home.unet_choice, partial(select_unet, settings, home)),
    ]
    for model in models:
        stages.append((home.generator(model), partial(train_generator, settings, home, model)))
        stages.append((home.synthetic(model), partial(synthesize, settings, home, model)))
    for data in (REAL, *models):
        stages.append((home.unet(data), partial(train_unet, settings, home, data)))
        stages.append((home.predictions(data), partial(evaluate, settings, home, data)))
    for start in (SCRATCH, REAL, *models):
        stages.append((_transferred(home, start), partial(transfer, settings, home, start)))
    stages.append((home.audit_references, partial(audit_references, settings, home)))
    stages += [(home.audit(model), partial(audit, settings, home, model)) for model in models]
    for result, stage in stages:
        if not result.exists():
            say(f"makes {result}")
            stage()


def _transferred(home: Workspace, start: str) -> Path:
    return home.metrics / "transfer" / f"{start}.csv"


def figures(settings: Settings) -> dict[str, Any]:
    """DSC at both sites by what a U-net started from, and each set's attacks with their controls."""
    home, rows = Workspace(), {}
    for start in (SCRATCH, REAL, *settings.generators):
        row: dict[str, Any] = {"transfer": [score.dsc for score in read_transfer(_transferred(home, start))]}
        if start != SCRATCH:
            row["source"] = [score.dsc for score in read_scores(home.metrics / "patients" / f"{start}.csv")]
        if start in settings.generators:
            result = read_json(home.audit(start) / "audit.json")
            row |= {"verdicts": result["verdicts"], "findings": result["findings"]}
        rows[start] = row
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epsilons", nargs="+", type=float, default=[8.0, 0.01])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    os.environ |= {"ANGIOSYNTH_TRACKING": "off", "OMP_NUM_THREADS": "1"}
    settings = settings_of(Path("profiles/demo.yaml"), options.epsilons)
    options.folder.mkdir(parents=True, exist_ok=True)
    os.chdir(options.folder)
    run_stages(settings)
    rows = figures(settings)
    tell("| start | source's test patients, DSC | second site, one patient, DSC | verdict on the set |", "|---|---:|---:|---|")
    for start, row in rows.items():
        source = f"{np.mean(row['source']):.3f}" if "source" in row else "-"
        tell(f"| {start} | {source} | {np.mean(row['transfer']):.3f} | {row.get('verdicts', {}).get('set', '-')} |")
    if options.json:
        tell(json.dumps(rows))


if __name__ == "__main__":
    main()
