"""Private evolution for a folder of real scans: what votes without labels are worth where the hospital is no phantom.

    python -m benchmarks.private_real FOLDER [--epsilons inf 8 1] [--seeds 1 2 3] [--spacing-mm 0.6 0.6 1] [--rows FILE.jsonl] [--json]

FOLDER is a BIDS folder of labelled scans. All of them vote, by patches that are cut without their labels; then a U-net is trained on the
drawn set, as in benchmarks/private_phantom.py, and segments all of them. `inf` draws no noise, so it promises nothing, but shows what votes
could reach. Beside these stand sets of no patient (the phantom's defaults, settings drawn evenly from its public ranges), U-nets on the
real patches of all scans but the segmented one, and the best global threshold of all others. Labels are read for these two and for the
scores. Scans must have the voxel size of the drawn grid in a slice, since patches are counted in voxels.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from angiosynth.arrays import Mask
from angiosynth.data.bids import Patient, find_patients
from angiosynth.data.intensity import Scan, load_scan
from angiosynth.data.patches import PatchSet, build_patches, open_patch_set
from angiosynth.evaluation.threshold import above, best_threshold
from angiosynth.generators.private_evolution.simulator import DEFAULTS
from angiosynth.generators.private_evolution.space import RANGES, point_of, spread_points
from angiosynth.metrics.segmentation import dsc, precision, recall
from angiosynth.runtime.memory import keep_freed_memory
from angiosynth.runtime.progress import say, tell
from angiosynth.runtime.recorder import NullRecorder
from angiosynth.segmentation.training import train_segmenter
from angiosynth.settings import IntensitySettings
from benchmarks.leave_one_out_tables import interval
from benchmarks.private_hospitals import CUT
from benchmarks.private_phantom import EVEN, UNET, evolved, set_of

SHAPE = (224, 288, 64)
INTENSITY = IntensitySettings()


def patches_of(root: Path, folder: Path, labelled: bool) -> PatchSet:
    """Patches of all patients of a BIDS folder."""
    build_patches(root, [patient.id for patient in find_patients(root)], CUT, INTENSITY, folder, labelled=labelled)
    return open_patch_set(folder)


def scored(segmentations: Iterable[Mask], scans: Sequence[Scan]) -> dict[str, list[float]]:
    """DSC, precision and recall of each scan."""
    masks = list(segmentations)
    return {
        name: [metric(scan.truth, marked) for scan, marked in zip(scans, masks, strict=True)]
        for name, metric in {"dsc": dsc, "precision": precision, "recall": recall}.items()
    }


def segmented(patches: PatchSet, scans: Sequence[Scan], seed: int) -> list[Mask]:
    """Segmentations of the scans by a U-net trained on the patches."""
    segmenter = train_segmenter(UNET.model_copy(update={"seed": seed}), patches, None, NullRecorder()).segmenter
    return [segmenter.segment(scan.image, scan.brain) for scan in scans]


def of_nobody(scans: Sequence[Scan], grid: dict[str, Any], seed: int) -> Iterator[dict[str, Any]]:
    """Set and scores of sets for which nobody is asked."""
    for name, points in (("defaults", point_of(DEFAULTS)[None]), ("ranges", spread_points(EVEN, seed))):
        pairs = set_of(points, np.full(len(points), 1 / len(points)), seed, **grid)
        yield {"set": name, **scored(segmented(pairs, scans, seed), scans)}


def of_voters(voters: PatchSet, scans: Sequence[Scan], epsilon: str, seed: int, grid: dict[str, Any]) -> dict[str, Any]:
    """Scores of the set for which all have voted, and its mean settings as places in their ranges, 0 to 1."""
    average = evolved(voters, float(epsilon), seed, "posterior", **grid).average
    points, weights = average.points.numpy(), average.weights.numpy()
    places = {name: round(float(value), 3) for name, value in zip(RANGES, weights @ points, strict=True)}
    return {"set": "votes", "settings": places, **scored(segmented(set_of(points, weights, seed, **grid), scans, seed), scans)}


def leaving_one_out(root: Path, patients: Sequence[Patient], scans: Sequence[Scan], folder: Path) -> Iterator[dict[str, Any]]:
    """Set and scores of the threshold, and of the real patches, of all other scans."""
    everybody = patches_of(root, folder, labelled=True)
    others = [[other for other in scans if other is not scan] for scan in scans]
    yield {"set": "threshold", **scored((above(scan, best_threshold(rest)) for scan, rest in zip(scans, others, strict=True)), scans)}
    names = [[other.id for other in patients if other is not patient] for patient in patients]
    masks = (segmented(everybody.of_patients(rest), [scan], 1)[0] for rest, scan in zip(names, scans, strict=True))
    yield {"set": "real", **scored(masks, scans)}


def measured(options: argparse.Namespace, folder: Path) -> Iterator[dict[str, Any]]:
    """A row for each set and seed: set, epsilon, seed and the scores of each scan."""
    patients = find_patients(options.folder)
    scans = [load_scan(patient, INTENSITY) for patient in patients]
    grid = {"shape": SHAPE, "spacing_mm": tuple(options.spacing_mm)}
    voters = patches_of(options.folder, folder / "voters", labelled=False)
    for seed in options.seeds:
        for epsilon in options.epsilons:
            say(f"votes at epsilon {epsilon}, seed {seed}")
            yield {"epsilon": epsilon, "seed": seed} | of_voters(voters, scans, epsilon, seed, grid)
        yield from ({"epsilon": "-", "seed": seed} | row for row in of_nobody(scans, grid, seed))
    yield from ({"epsilon": "-", "seed": 1} | row for row in leaving_one_out(options.folder, patients, scans, folder / "real"))


def table(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Lines of a Markdown table: means over seeds and scans, the DSC's with its 95% bootstrap interval over scans, and of single seeds."""
    yield from ("| set | epsilon | DSC | 95% interval | seeds | precision | recall |", "|---|---:|---:|---|---|---:|---:|")
    for name, epsilon in dict.fromkeys((row["set"], row["epsilon"]) for row in rows):
        same = [row for row in rows if (row["set"], row["epsilon"]) == (name, epsilon)]
        scores, more = np.array([row["dsc"] for row in same]), [np.mean([row[key] for row in same]) for key in ("precision", "recall")]
        mean, low, high = interval(scores.mean(axis=0))
        seeds = ", ".join(f"{one:.3f}" for one in scores.mean(axis=1))
        yield f"| {name} | {epsilon} | {mean:.3f} | {low:.3f} to {high:.3f} | {seeds} | {more[0]:.2f} | {more[1]:.2f} |"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epsilons", nargs="+", default=["inf", "8", "1"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--spacing-mm", nargs=3, type=float, default=[0.6, 0.6, 1.0])
    parser.add_argument("--rows", type=Path, help="gets each row as it is measured")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    keep_freed_memory()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for row in measured(options, Path(folder)):
            rows.append(row)
            if options.rows:
                with options.rows.open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps(row) + "\n")
    tell(*(map(json.dumps, rows) if options.json else table(rows)))


if __name__ == "__main__":
    main()
