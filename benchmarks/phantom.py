"""Compare the embedded phantom with real TOF-MRA volumes: statistics, a figure, and seconds per volume.

    python benchmarks/phantom.py [--params profiles/demo.yaml] [--patients 6] [--realdata FOLDER] [--figure docs/phantom.png] [--json]

The first patients of both sites of the settings are drawn into a temporary folder and measured like the real volumes. Real volumes are
searched in `--realdata`, ANGIOSYNTH_REALDATA and shared/realdata next to the repository, and left out if none are found. The time is that
of one volume of 256 x 256 x 96 voxels, in processor time, which includes all threads of this process and no other program; best of
`--runs`. With `--json` the last line is one JSON object.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from angiosynth.arrays import Mask
from angiosynth.data.bids import Patient, find_patients
from angiosynth.data.intensity import Scan, load_scan
from angiosynth.data.nifti import read_volume
from angiosynth.evaluation.threshold import above, best_threshold
from angiosynth.metrics.segmentation import dsc
from angiosynth.phantom.drawing import generate_patient, generate_site
from angiosynth.runtime.output import whole_file
from angiosynth.settings import IntensitySettings, PhantomSettings, ScannerSettings, load_settings

Cohorts = dict[str, tuple[Patient, ...]]
Picture = NDArray[np.float32]
REAL = "real"
# The licence of the real volumes requires this notice on every picture of them.
NOTICE = "(C) 1993-2009 Louis Collins, McConnell Brain Imaging Centre, McGill"
BINS = np.linspace(0, 2.6, 53)  # bin edges of the histograms, in medians of the brain
SHOWN_MM = 64.0  # height of the projections
SLAB_MM = 8.0
COARSER = 2  # factor by which a real volume's projections are averaged along each axis
FIELD_MM = (160.0, 195.0)  # field of view of a picture: left to right, front to back
ROWS = {
    "vessel_percent": "vessel, per cent of the brain",
    "contrast": "mean vessel / median brain, above air",
    "median_contrast": "median vessel / median brain",
    "noise": "noise / median brain",
    "spread": "5th to 95th percentile of the brain / median",
    "top": "99.9th percentile of the brain / median",
    "components": "connected pieces of vessel",
    "largest_percent": "largest piece, per cent of the vessels",
    "loose_percent": "pieces under 20 voxels, per cent of the vessels",
    "threshold_dsc": "DSC of the best global threshold",
}


def measure(patients: tuple[Patient, ...]) -> dict[str, Any]:
    """Return means over a cohort. The threshold is chosen on all other patients and scored on the one left out."""
    scans = [load_scan(patient, IntensitySettings()) for patient in patients]
    statistics = [_statistics(patient, scan) for patient, scan in zip(patients, scans, strict=True)]
    scores = [_left_out(scans, place) for place in range(len(scans))]
    means = {key: float(np.mean([row[key] for row in statistics])) for key in statistics[0]}
    histogram = {"edges": BINS.tolist(), "density": _histogram(patients).tolist()}
    return means | {"threshold_dsc": float(np.mean(scores)), "volumes": len(scans), "histogram": histogram}


def _left_out(scans: list[Scan], place: int) -> float:
    threshold = best_threshold(scan for other, scan in enumerate(scans) if other != place)
    return dsc(scans[place].truth, above(scans[place], threshold))


def _statistics(patient: Patient, scan: Scan) -> dict[str, float]:
    """Compute the statistics of one volume from its stored values."""
    stored = read_volume(patient.image).array
    inside, vessel = stored[scan.brain], stored[scan.truth]
    median = float(np.median(inside))
    air = float(np.percentile(stored[~scan.brain], 5))
    # Neighbouring voxels in homogeneous tissue differ only by noise, and the median ignores edges and vessels. For Gaussian noise the
    # median of |difference| is 0.6745 standard deviations of the difference, which has sqrt(2) times the standard deviation of the noise.
    step = np.abs(np.diff(stored, axis=0))[scan.brain[1:] & scan.brain[:-1]]
    low, high, top = np.percentile(inside, [5, 95, 99.9])
    return {
        "vessel_percent": 100 * float(scan.truth.sum() / scan.brain.sum()),
        "contrast": (float(np.mean(vessel)) - air) / (median - air),
        "median_contrast": float(np.median(vessel)) / median,
        "noise": float(np.median(step)) / 0.6745 / float(np.sqrt(2)) / median,
        "spread": float(high - low) / median,
        "top": float(top) / median,
    } | _pieces(scan.truth)


def _pieces(vessel: Mask) -> dict[str, float]:
    """Count the label's connected components, with 26-neighbourhoods."""
    labels, count = ndimage.label(vessel, np.ones((3, 3, 3)))
    sizes = np.bincount(labels[vessel])[1:]
    share = 100 / float(sizes.sum())
    return {
        "components": float(count),
        "largest_percent": share * float(sizes.max()),
        "loose_percent": share * float(sizes[sizes < 20].sum()),
    }


def _relative(patient: Patient) -> tuple[Picture, Mask]:
    """Return the volume divided by the brain's median, and the brain mask."""
    assert patient.brain is not None
    brain: Mask = read_volume(patient.brain).array > 0
    volume = read_volume(patient.image).array
    return np.asarray(volume / np.float32(np.median(volume[brain]))), brain


def _histogram(patients: tuple[Patient, ...]) -> NDArray[np.float64]:
    """Return the mean density of the brains' voxels in each of BINS."""
    densities = []
    for patient in patients:
        volume, brain = _relative(patient)
        densities.append(np.histogram(volume[brain], BINS)[0] / (np.count_nonzero(brain) * np.diff(BINS)))
    return np.asarray(np.mean(densities, axis=0))


@dataclass(frozen=True)
class _View:
    title: str
    picture: Picture  # (across, up)
    pixel_mm: tuple[float, float]


def _views(patient: Patient, is_real: bool) -> list[_View]:
    """Project SHOWN_MM of height and a thick slab, and of the phantom also a slice. The nose points up or right."""
    volume, brain = _relative(patient)
    x_mm, y_mm, z_mm = read_volume(patient.image).spacing_mm
    if is_real:  # a whole head with a reversed front-to-back axis: select the slab that the phantom covers
        bottom = int(0.22 * brain.shape[2])
        shown = slice(bottom, bottom + round(SHOWN_MM / z_mm))
        volume, brain = volume[:, ::-1, shown], brain[:, ::-1, shown]
    masked = volume * brain
    level, half = int(0.42 * volume.shape[2]), max(1, round(SLAB_MM / 2 / z_mm))
    views = [
        _View("brightest, from above", masked.max(axis=2), (x_mm, y_mm)),
        _View("brightest, from the front", masked.max(axis=1), (x_mm, z_mm)),
        _View("brightest, from the side", masked.max(axis=0), (y_mm, z_mm)),
        _View(f"mean of {SLAB_MM:.0f} mm", volume[:, :, level - half : level + half].mean(axis=2), (x_mm, y_mm)),
    ]
    # Real volumes are shown only as averaged projections, without single voxels.
    return [_coarser(view) for view in views] if is_real else [*views, _View("one slice", volume[:, :, level], (x_mm, y_mm))]


def _coarser(view: _View) -> _View:
    across, up = (size // COARSER for size in view.picture.shape)
    blocks = view.picture[: across * COARSER, : up * COARSER].reshape(across, COARSER, up, COARSER)
    return _View(view.title, blocks.mean(axis=(1, 3)), (view.pixel_mm[0] * COARSER, view.pixel_mm[1] * COARSER))


def draw_figure(cohorts: Cohorts, measured: dict[str, dict[str, Any]], target: Path) -> None:
    """Draw the first volume of each cohort on common scales of millimetres and intensity, and the histograms of all volumes."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    wide, deep = FIELD_MM
    tight = ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.06, hspace=0.0, wspace=0.0)
    figure = plt.figure(figsize=(10.4, 3.05 * len(cohorts) + 2.4), layout=tight)
    heights = [deep / 2] * (2 * len(cohorts)) + [0.75 * deep]
    grid = figure.add_gridspec(2 * len(cohorts) + 1, 4, height_ratios=heights, width_ratios=[wide, deep, wide, wide])
    for row, (name, patients) in enumerate(cohorts.items()):
        both = slice(2 * row, 2 * row + 2)
        places = [grid[both, 0], grid[2 * row, 1], grid[2 * row + 1, 1], grid[both, 2], grid[both, 3]]
        sides = [(wide, deep), (deep, 0), (deep, 0), (wide, deep), (wide, deep)]
        views = _views(patients[0], name == REAL)
        for place, side, view in zip(places, sides, views, strict=False):
            _show(figure.add_subplot(place), view, f"{name}: {view.title}", side)
        if len(views) < len(places):
            axes = figure.add_subplot(places[-1])
            text = f"Projections of a real\nvolume, {COARSER} x {COARSER} pixels\nmade one.\n\n" + NOTICE.replace(", ", ",\n")
            axes.text(0.04, 0.5, text, fontsize=8, va="center")
            axes.axis("off")
    axes = figure.add_subplot(grid[-1, :])
    for name, means in measured.items():
        density = np.array(means["histogram"]["density"])
        axes.stairs(np.where(density > 0, density, np.nan), BINS, label=f"{name}, {means['volumes']} volumes", baseline=None, linewidth=1.3)
    axes.set(yscale="log", xlim=(0, BINS[-1]), xlabel="stored value / median of the brain", ylabel="density in the brain")
    axes.legend(frameon=False)
    _save(figure, target)
    plt.close(figure)


def _show(axes: Any, view: _View, title: str, side_mm: tuple[float, float]) -> None:
    """Show one picture in the centre of a field of view of side_mm; a side of 0 fits the picture."""
    width, height = (size * pixel for size, pixel in zip(view.picture.shape, view.pixel_mm, strict=True))
    extent = (-width / 2, width / 2, -height / 2, height / 2)
    axes.imshow(view.picture.T, cmap="gray", origin="lower", extent=extent, vmin=0.2, vmax=2.2, interpolation="bilinear")
    across, up = side_mm[0], side_mm[1] or height
    axes.set(xlim=(-across / 2, across / 2), ylim=(-up / 2, up / 2))
    axes.set_title(title, fontsize=8, pad=3)
    axes.axis("off")


def _save(figure: Any, target: Path) -> None:
    """Save a figure as a PNG of 256 colours, without a date or a program's name."""
    from PIL import Image

    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=88, format="png")
    picture = Image.open(buffer).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    with whole_file(target) as temporary:
        picture.save(temporary, format="PNG", optimize=True)


def seconds_a_volume(runs: int) -> float:
    """Return the processor seconds for a volume of 256 x 256 x 96 voxels, best of the runs, without other programs' time."""
    scanner = ScannerSettings(patients=1, shape=(256, 256, 96), spacing_mm=(0.65, 0.72, 0.75))
    times = []
    for patient in range(1, runs + 1):
        start = time.process_time()
        generate_patient(scanner, 1, patient, is_diseased=True)
        times.append(time.process_time() - start)
    return min(times)


def find_real(named: Path | None) -> Path | None:
    """Find the BIDS folder of real volumes: `named` or the first in it, else by the environment or next to the repository."""
    root = named or Path(os.environ.get("ANGIOSYNTH_REALDATA") or Path(__file__).resolve().parents[2] / "shared" / "realdata")
    descriptions = sorted(root.glob("dataset_description.json")) + sorted(root.glob("*/dataset_description.json"))
    return descriptions[0].parent if descriptions else None


def draw_sites(settings: PhantomSettings, patients: int, folder: Path) -> Cohorts:
    """Draw the sites of the settings, each with its scanner and `patients` patients."""
    cohorts: Cohorts = {}
    for site, scanner in settings.sites.items():
        generate_site(scanner.model_copy(update={"patients": patients}), settings.seed, site, settings.diseased, folder / site)
        cohorts[site] = find_patients(folder / site)
    return cohorts


def _table(measured: dict[str, dict[str, Any]]) -> str:
    heads = [f"{name} ({means['volumes']})" for name, means in measured.items()]
    lines = ["| mean over the volumes | " + " | ".join(heads) + " |", "|---|" + "---:|" * len(heads)]
    for key, text in ROWS.items():
        digits = 0 if key == "components" else 2
        lines.append(f"| {text} | " + " | ".join(f"{means[key]:.{digits}f}" for means in measured.values()) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="the phantom beside real volumes")
    parser.add_argument("--params", type=Path, default=Path("profiles/demo.yaml"))
    parser.add_argument("--patients", type=int, default=6, help="of each site, at least 2")
    parser.add_argument("--realdata", type=Path)
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.patients < 2:
        parser.error("--patients: a threshold is picked on the others, so at least 2")
    real = find_real(arguments.realdata)
    if real is None:
        print("no real volumes: name their folder with --realdata or ANGIOSYNTH_REALDATA", file=sys.stderr)
    seconds = seconds_a_volume(arguments.runs)
    with tempfile.TemporaryDirectory() as folder:
        cohorts = draw_sites(load_settings(arguments.params).phantom, arguments.patients, Path(folder))
        cohorts |= {REAL: find_patients(real)} if real else {}
        measured = {name: measure(patients) for name, patients in cohorts.items()}
        if arguments.figure:
            draw_figure(cohorts, measured, arguments.figure)
    print(_table(measured))
    print(f"{seconds:.2f} s of one core for a volume of 256 x 256 x 96 voxels")
    if arguments.json:
        print(json.dumps({"seconds_a_volume": seconds, "cohorts": measured}))


if __name__ == "__main__":
    main()
