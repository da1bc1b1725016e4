"""Private evolution for a few real scans: can the phantom be made to look like them, and what does epsilon mean to so few?

    python -m benchmarks.private_real --realdata FOLDER [--epsilons 1 8 inf] [--json]

FOLDER is a site in BIDS with brain masks and vessel labels. Scans are averaged over FACTORS voxels, where the phantom draws a head in
a second. All of them vote; labels say where patches are cut and how U-nets score, nothing else. For the phantom's defaults, its public
ranges and each epsilon: the distance of the set's statistics from the scans' mean, in deviations between heads of one scanner, and the DSC
of a U-net trained on the set, beside that of the best global threshold of the other scans. `inf` draws no noise. Those who vote are those
who are scored, so the DSC says what the phantom can do, not what a new patient of that hospital would have.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from angiosynth.data.bids import Patient, find_patients
from angiosynth.data.intensity import Scan, load_scan
from angiosynth.evaluation.threshold import above, best_threshold
from angiosynth.generators.private_evolution.evolution import described_patients
from angiosynth.generators.private_evolution.features import whitened
from angiosynth.generators.private_evolution.simulator import USUAL
from angiosynth.generators.private_evolution.space import point_of, spread_points
from angiosynth.metrics.segmentation import dsc
from angiosynth.runtime.progress import tell
from angiosynth.settings import IntensitySettings
from benchmarks.private_hospitals import INTENSITY, patches_of
from benchmarks.private_phantom import EVEN, evolved, scored, set_of

FACTORS = (2, 2, 4)
MULTIPLE = 8  # of voxels that the phantom's grid has along a side


def coarse(patient: Patient) -> Scan:
    """A scan averaged over FACTORS voxels; brain and vessel are where at least half of a voxel is."""
    scan = load_scan(patient, IntensitySettings(**INTENSITY))
    brain, label = (_averaged(mask.astype(np.float32)) >= 0.5 for mask in (scan.brain, scan.truth))
    image = _averaged(scan.image)
    low, high = np.percentile(image[brain], (INTENSITY["low"], INTENSITY["high"]))  # anew: the mean of voxels has another range
    image = np.where(brain, np.clip((image - low) * 2 / (high - low) - 1, -1, 1), -1).astype(np.float32)
    spacing = tuple(size * factor for size, factor in zip(scan.spacing_mm, FACTORS, strict=True))
    return Scan(scan.patient, image, brain, label & brain, (spacing[0], spacing[1], spacing[2]), scan.path)


def _averaged(volume: NDArray[np.float32]) -> NDArray[np.float32]:
    sides = [size // factor for size, factor in zip(volume.shape, FACTORS, strict=True)]
    whole = volume[tuple(slice(side * factor) for side, factor in zip(sides, FACTORS, strict=True))]
    split = [number for pair in zip(sides, FACTORS, strict=True) for number in pair]
    return np.asarray(whole.reshape(split).mean(axis=(1, 3, 5)), np.float32)


def grid_of(scans: Sequence[Scan]) -> dict[str, Any]:
    """The phantom's grid: the mean size of the scans, which is public here."""
    sides = np.mean([scan.image.shape for scan in scans], axis=0)
    shape = tuple(MULTIPLE * max(1, round(side / MULTIPLE)) for side in sides)
    return {"shape": shape, "spacing_mm": tuple(round(size, 3) for size in scans[0].spacing_mm)}


def rows_of(scans: Sequence[Scan], epsilons: Sequence[str], seed: int) -> list[dict[str, Any]]:
    """A row for each set, and one for the threshold."""
    grid, real = grid_of(scans), patches_of(iter(scans))
    drawings: dict[str, Any] = {"defaults": point_of(USUAL)[None], "ranges": spread_points(EVEN, seed)}
    for epsilon in epsilons:
        evolution = evolved(real, float(epsilon), seed, "posterior", **grid)
        drawings[f"epsilon {epsilon}"] = evolution.average.points.numpy()
    scale = evolution.population.centre.numpy(), evolution.population.matrix.numpy()
    reference = whitened(described_patients(real), *scale)
    thresholds = [best_threshold([other for other in scans if other is not scan]) for scan in scans]
    rows: list[dict[str, Any]] = [
        {"set": "threshold", "dsc": [dsc(scan.truth, above(scan, least)) for scan, least in zip(scans, thresholds, strict=True)]}
    ]
    for name, points in drawings.items():
        pairs = set_of(points, np.full(len(points), 1 / len(points)), seed, **grid)
        apart = whitened(described_patients(pairs), *scale).mean(axis=0) - reference.mean(axis=0)
        spread = [round(float(value), 3) for value in points.std(axis=0)]
        measured = {"statistics": float(np.linalg.norm(apart)), "settings": points.mean(axis=0).round(3).tolist(), "spread": spread}
        rows.append({"set": name, **measured, "dsc": scored(pairs, scans, seed)})
    between = float(np.linalg.norm(reference - reference.mean(axis=0), axis=1).mean())
    return [row | {"between_scans": between} for row in rows]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--realdata", type=Path, required=True)
    parser.add_argument("--epsilons", nargs="+", default=["1", "8", "inf"])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    scans = [coarse(patient) for patient in find_patients(options.realdata) if patient.label is not None]
    rows = rows_of(scans, options.epsilons, options.seed)
    tell("| set | statistics | spread of settings | DSC |", "|---|---:|---:|---:|")
    for row in rows:
        near, spread = f"{row.get('statistics', math.nan):.2f}", f"{np.mean(row.get('spread', math.nan)):.2f}"
        tell(f"| {row['set']} | {near} | {spread} | {np.mean(row['dsc']):.3f} |")
    if options.json:
        tell(*map(json.dumps, rows))


if __name__ == "__main__":
    main()
