"""This audit beside Anonymeter (Giomi et al., PETS 2023) on the same sets: harmless ones, and ones with 10% and 100% copies.

    python -m benchmarks.export_tools TOOLS --only anonymeter
    python -m benchmarks.anonymeter_check --cache FOLDER --python TOOLS/anonymeter/bin/python [--cohort 20/10] [--seed 1] [--json]

Anonymeter needs a table, so each patch becomes a row of six numbers (`described`). Rows of training patients are the original, rows of test
patients the control. People, sets and audits are those of benchmarks/audit_errors.py, as is the cache folder, whose results are read
and added to.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from scipy import ndimage

from angiosynth.data.patches import PatchSet
from angiosynth.runtime.tables import write_table
from benchmarks.audit_errors import SIZES, Task, run, set_of
from benchmarks.audit_people import load_people
from benchmarks.audit_sets import SetMaker, draw_cohort

KINDS = ("strangers", "noisy-0.1", "as-they-lie-0.1", "noisy-1", "as-they-lie-1")
COLUMNS = ("vessel_fraction", "components", "largest_component", "mean_intensity", "deviation", "mean_in_vessels")
RISKS = Path(__file__).with_name("anonymeter_risks.py")
MEASURES = ("images", "images_closest", "features", "inference", "copies", "linkage")  # of the audit, for the table


def described(patches: PatchSet) -> list[tuple[float, ...]]:
    """COLUMNS of each patch: vessels' share, their connected components, the largest in pixels; grey levels of the patch and in vessels."""
    rows: list[tuple[float, ...]] = []
    for image, label in zip(patches.image[patches.rows], patches.label[patches.rows], strict=True):
        numbered, components = ndimage.label(label)
        largest = int(np.bincount(numbered.ravel())[1:].max()) if components else 0
        in_vessels = float(image[label > 0].mean()) if components else 0.0
        row = (round(float(label.mean()), 4), components, largest, round(float(image.mean()), 1), round(float(image.std()), 1))
        rows.append((*row, round(in_vessels, 1)))
    return rows


def write_described(patches: PatchSet, path: Path) -> None:
    """As a CSV file."""
    with path.open("w", newline="") as stream:
        write_table(stream, COLUMNS, described(patches))


def risks_of(cohort: str, seed: int, cache: Path, python: Path) -> dict[str, Any]:
    """Anonymeter's risks of every kind of set."""
    people = load_people(cache, 1)
    drawn = draw_cohort(people, SIZES[cohort], seed)
    maker = SetMaker(people, drawn, seed, cache)
    with TemporaryDirectory(prefix="angiosynth-anonymeter-") as name:
        folder = Path(name)
        write_described(people.patches_of(drawn.training, folder), folder / "training.csv")
        write_described(people.patches_of(drawn.test, folder), folder / "control.csv")
        for kind in KINDS:
            write_described(set_of(kind, maker).pairs, folder / f"{kind}.csv")
        finished = subprocess.run([python, RISKS, folder], check=True, capture_output=True, text=True)
    risks: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    return risks


def tables(risks: dict[str, Any], audits: list[dict[str, Any]]) -> list[str]:
    """A row for each kind of set: Anonymeter's risks, then this audit's measures and verdict."""
    attacks = list(next(iter(risks.values())))
    rows = [f"| set | {' | '.join(attacks)} |", f"|---|{'---:|' * len(attacks)}"]
    for kind in KINDS:
        cells = (f"{one['risk']:.2f} ({one['low']:.2f} to {one['high']:.2f})" for one in (risks[kind][attack] for attack in attacks))
        rows.append(f"| {kind} | {' | '.join(cells)} |")
    rows += ["", f"| set | {' | '.join(MEASURES)} | verdict on the set |", f"|---|{'---:|' * len(MEASURES)}---|"]
    for audit in audits:
        measures = (audit["measures"][name] for name in MEASURES)
        cells = (f"{one['value']:.3f}{' over' if one['state'] == 'over' else ''}" for one in measures)
        rows.append(f"| {audit['kind']} | {' | '.join(cells)} | {audit['set']} |")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--python", type=Path, required=True, help="of an environment with Anonymeter")
    parser.add_argument("--cohort", choices=SIZES, default="20/10")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    risks = risks_of(options.cohort, options.seed, options.cache, options.python)
    tasks = [Task(kind, options.cohort, options.seed) for kind in KINDS]
    audits = sorted(run(tasks, options.cache, 1, float("inf")), key=lambda one: KINDS.index(one["kind"]))
    print("\n".join(tables(risks, audits)))
    if options.json:
        print(json.dumps(risks))


if __name__ == "__main__":
    main()
