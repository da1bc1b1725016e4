"""The embedded phantom beside real TOF-MRA volumes: figures, a picture, and seconds a volume.

    python benchmarks/phantom.py [--params profiles/demo.yaml] [--realdata FOLDER] [--figure docs/phantom.png] [--json]

Both sites of the settings are drawn into a temporary folder and measured like the real volumes, which are read from `--realdata`
or ANGIOSYNTH_REALDATA and left out where there are none. Timed: one volume of 256 x 256 x 96 voxels, in processor
time, which counts all threads and no other program; best of `--runs`. With `--json` the last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from angiosynth.data.bids import Patient, find_patients
from angiosynth.data.intensity import Scan, load_scan
from angiosynth.data.nifti import read_volume
from angiosynth.data.phantom import generate_patient, generate_site
from angiosynth.evaluation.metrics import dsc
from angiosynth.evaluation.threshold import above, best_threshold
from angiosynth.settings import IntensitySettings, ScannerSettings, load_settings

Cohorts = dict[str, tuple[Patient, ...]]
ROWS = {
    "vessel_percent": "vessel, per cent of the brain",
    "contrast": "median vessel / median brain",
    "noise": "noise / median brain",
    "spread": "5th to 95th percentile of the brain / median",
    "top": "99.9th percentile of the brain / median",
    "threshold_dsc": "DSC of the best global threshold",
}


def measure(patients: tuple[Patient, ...]) -> dict[str, float]:
    """Means over a cohort; the threshold is picked on all other patients of the cohort and scored on the one left out."""
    scans = [load_scan(patient, IntensitySettings()) for patient in patients]
    found = [_figures(patient, scan) for patient, scan in zip(patients, scans, strict=True)]
    scores = [_left_out(scans, place) for place in range(len(scans))]
    means = {key: float(np.mean([each[key] for each in found])) for key in found[0]}
    return means | {"threshold_dsc": float(np.mean(scores)), "volumes": float(len(scans))}


def _left_out(scans: list[Scan], place: int) -> float:
    threshold = best_threshold(scan for other, scan in enumerate(scans) if other != place)
    return dsc(scans[place].truth, above(scans[place], threshold))


def _figures(patient: Patient, scan: Scan) -> dict[str, float]:
    """Of one volume, from its stored values."""
    stored = read_volume(patient.image).array
    inside = stored[scan.brain]
    median = float(np.median(inside))
    # Neighbouring voxels of flat tissue differ by noise alone; the median leaves edges and vessels out.
    step = np.abs(np.diff(stored, axis=0))[scan.brain[1:] & scan.brain[:-1]]
    low, high, top = np.percentile(inside, [5, 95, 99.9])
    return {
        "vessel_percent": 100 * float(scan.truth.sum() / scan.brain.sum()),
        "contrast": float(np.median(stored[scan.truth])) / median,
        "noise": float(np.median(step)) / 0.6745 / float(np.sqrt(2)) / median,
        "spread": float(high - low) / median,
        "top": float(top) / median,
    }


def draw_figure(cohorts: Cohorts, target: Path) -> None:
    """Two volumes of each cohort as maximum intensity projections from above, the front and the side, and a slice; histograms."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    shown = [(name, patient) for name, patients in cohorts.items() for patient in patients[:2]]
    figure = plt.figure(figsize=(11, 2.3 * len(shown) + 2.6), layout="constrained")
    grid = figure.add_gridspec(len(shown) + 1, 4, height_ratios=[*[1.0] * len(shown), 1.1])
    for row, (name, patient) in enumerate(shown):
        for column, (title, picture, ratio) in enumerate(_views(patient)):
            axes = figure.add_subplot(grid[row, column])
            axes.imshow(picture.T, cmap="gray", origin="lower", aspect=ratio, vmin=0.2, vmax=2.2, interpolation="bilinear")
            axes.set_title(f"{name}: {title}" if column == 0 else title, fontsize=8)
            axes.axis("off")
    axes = figure.add_subplot(grid[-1, :])
    for name, patients in cohorts.items():
        values = np.concatenate([_relative(patient)[1] for patient in patients])
        counts, edges = np.histogram(values, bins=np.linspace(0, 2.6, 105), density=True)
        axes.semilogy((edges[1:] + edges[:-1]) / 2, np.where(counts > 0, counts, np.nan), label=name)
    axes.set_xlabel("stored value / median of the brain")
    axes.set_ylabel("density in the brain")
    axes.legend()
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=70)
    plt.close(figure)


def _relative(patient: Patient) -> tuple[Any, Any, Any]:
    """The volume and the values in the brain, both over the brain's median, and the brain."""
    assert patient.brain is not None
    brain = read_volume(patient.brain).array > 0
    volume = read_volume(patient.image).array.astype(np.float32)
    volume /= np.float32(np.median(volume[brain]))
    return volume, volume[brain], brain


def _views(patient: Patient) -> list[tuple[str, NDArray[np.float32], float]]:
    """Projections of the same 64 mm of height, and one slice; the nose points up in those from above."""
    volume, _, brain = _relative(patient)
    spacing = read_volume(patient.image).spacing_mm
    real = brain.shape[2] * spacing[2] > 110  # a whole head: take what the phantom's slab shows
    if real:
        bottom = int(0.22 * brain.shape[2])
        cut = slice(bottom, bottom + round(64 / spacing[2]))
        volume, brain = volume[:, ::-1, cut], brain[:, ::-1, cut]
    masked = volume * brain
    tall = spacing[2] / spacing[0]
    return [
        ("projection from above", masked.max(axis=2), 1.0),
        ("from the front", masked.max(axis=1), tall),
        ("from the side", masked.max(axis=0), tall),
        ("a slice", volume[:, :, int(0.42 * volume.shape[2])], 1.0),
    ]


def seconds_a_volume(runs: int) -> float:
    """Processor seconds, best of the runs, for 256 x 256 x 96 voxels; other work on the machine does not count."""
    scanner = ScannerSettings(patients=1, shape=(256, 256, 96), spacing_mm=(0.65, 0.72, 0.75))
    times = []
    for patient in range(1, runs + 1):
        start = time.process_time()
        generate_patient(scanner, 1, patient, is_diseased=True)
        times.append(time.process_time() - start)
    return min(times)


def _table(measured: dict[str, dict[str, float]]) -> str:
    heads = [f"{name} ({found['volumes']:.0f})" for name, found in measured.items()]
    lines = ["| mean over the volumes | " + " | ".join(heads) + " |", "|---|" + "---|" * len(heads)]
    for key, text in ROWS.items():
        lines.append(f"| {text} | " + " | ".join(f"{found[key]:.2f}" for found in measured.values()) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="the phantom beside real volumes")
    parser.add_argument("--params", type=Path, default=Path("profiles/demo.yaml"))
    parser.add_argument("--realdata", type=Path, default=os.environ.get("ANGIOSYNTH_REALDATA"))
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    settings = load_settings(arguments.params).phantom
    seconds = seconds_a_volume(arguments.runs)
    measured: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        cohorts: Cohorts = {}
        for site, scanner in (("site-a", settings.site_a), ("site-b", settings.site_b)):
            generate_site(scanner, settings.seed, site, settings.diseased, Path(folder) / site)
            cohorts[site] = find_patients(Path(folder) / site)
        real = sorted(path.parent for path in Path(arguments.realdata).glob("*/dataset_description.json")) if arguments.realdata else []
        cohorts |= {"real": find_patients(real[0])} if real else {}
        for name, patients in cohorts.items():
            measured[name] = measure(patients)
        if arguments.figure:
            draw_figure(cohorts, arguments.figure)
    print(_table(measured))
    if not real:
        print("no real volumes: name their folder with --realdata or ANGIOSYNTH_REALDATA", file=sys.stderr)
    print(f"{seconds:.2f} s of one core for a volume of 256 x 256 x 96 voxels")
    if arguments.json:
        result: dict[str, Any] = {"seconds_a_volume": seconds, "cohorts": measured}
        print(json.dumps(result))


if __name__ == "__main__":
    main()
