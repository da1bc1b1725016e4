"""Sets of private evolution elsewhere and under attack: pre-training for another hospital with one patient, and who voted.

    python -m benchmarks.private_use --cache FOLDER [--source dim] [--second bright] [--patients 40] [--epsilon 8] [--seed 1] [--json]

The set is evolved at the source as benchmarks/private_phantom.py does it. U-nets start from it, from a set of the phantom's public ranges
and from nothing, train with the patches of one patient of the second hospital as stage transfer does, and are scored on its test patients.
The attack on membership is the audit's by nearest image in pixels: those who voted against as many others of the same hospital. Its control
makes the same attack with real patches of further people in the set's place. --cache keeps the hospitals' patients.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from angiosynth.data.patches import PatchSet
from angiosynth.generators.private_evolution.space import spread_points
from angiosynth.metrics.segmentation import dsc
from angiosynth.privacy.blackbox import set_scores
from angiosynth.privacy.membership import Patients, by_patient, membership_statistics, split_scores
from angiosynth.privacy.nearest import as_points
from angiosynth.runtime.progress import tell
from angiosynth.runtime.recorder import NullRecorder
from angiosynth.segmentation.training import train_segmenter
from angiosynth.segmentation.unet import Unet
from benchmarks.private_hospitals import HOSPITALS, patches_of_hospital, tested
from benchmarks.private_phantom import EVEN, UNET, evolved, set_of

FINE_TUNING = UNET.model_copy(update={"steps": 80})  # as section transfer of the demo
CONTROLS = 10  # people whose real patches stand in the set's place
BOOTSTRAP = 500


def transferred(start: Unet | None, second: str, cache: Path, seed: int) -> list[float]:
    """DSC of the second hospital's test patients after fine-tuning with its first patient; the last step's weights."""
    one = patches_of_hospital(second, 1, cache)
    segmenter = train_segmenter(FINE_TUNING.model_copy(update={"seed": seed}), one, None, NullRecorder(), unet=start).segmenter
    return [dsc(scan.truth, segmenter.segment(scan.image, scan.brain)) for scan in tested(second)]


def membership(pairs: PatchSet, source: str, voters: int, cache: Path, seed: int) -> dict[str, Any]:
    """Statistics of the attack, beside its control: see `membership_statistics`."""
    everybody = patches_of_hospital(source, 2 * voters + CONTROLS, cache)
    names = sorted(set(everybody.patient[everybody.rows].tolist()))
    members, others, further = names[:voters], names[voters : 2 * voters], names[2 * voters :]
    asked = everybody.of_patients(members + others).rows
    candidates, patient = as_points(everybody.image[asked]), everybody.patient[asked]
    control = np.random.default_rng(seed).permutation(everybody.of_patients(further).rows)[: len(pairs.image)]

    def scores(references: NDArray[np.uint8]) -> Patients:
        return split_scores(by_patient(set_scores(candidates, as_points(references)), patient), tuple(members), tuple(others))

    return membership_statistics(scores(pairs.image[pairs.rows]), scores(everybody.image[control]), BOOTSTRAP, seed)


def rows_of(options: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each start."""
    seed, settings = options.seed, UNET.model_copy(update={"seed": options.seed})
    voters = patches_of_hospital(options.source, options.patients, options.cache)
    sets = {f"epsilon {options.epsilon:g}": evolved(voters, options.epsilon, seed, "posterior").average.points.numpy()}
    sets["ranges"] = spread_points(EVEN, seed)
    rows: list[dict[str, Any]] = [{"start": "scratch", "transfer": transferred(None, options.second, options.cache, seed)}]
    for name, points in sets.items():
        pairs = set_of(points, np.full(len(points), 1 / len(points)), seed)
        trained = train_segmenter(settings, pairs, None, NullRecorder()).segmenter
        row: dict[str, Any] = {
            "start": name,
            "dsc": [dsc(scan.truth, trained.segment(scan.image, scan.brain)) for scan in tested(options.source)],
        }
        row["membership"] = membership(pairs, options.source, options.patients, options.cache, seed)
        row["transfer"] = transferred(trained.unet, options.second, options.cache, seed)
        rows.append(row)
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--source", choices=HOSPITALS, default="dim")
    parser.add_argument("--second", choices=HOSPITALS, default="bright")
    parser.add_argument("--patients", type=int, default=40)
    parser.add_argument("--epsilon", type=float, default=8.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    rows = rows_of(options)
    tell("| start | source, DSC | second hospital, one patient, DSC | AUC of the attack | of its control |", "|---|---:|---:|---|---|")
    for row in rows:
        attack = row.get("membership", {})
        spans = [f"{attack[n]:.2f} ({attack[n + '_low']:.2f} to {attack[n + '_high']:.2f})" if attack else "-" for n in ("auc", "control")]
        source = f"{np.mean(row['dsc']):.3f}" if "dsc" in row else "-"
        tell(f"| {row['start']} | {source} | {np.mean(row['transfer']):.3f} | {' | '.join(spans)} |")
    if options.json:
        tell(*map(json.dumps, rows))


if __name__ == "__main__":
    main()
