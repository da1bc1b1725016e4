"""What differential privacy per patient costs: private evolution of the phantom for hospitals whose scanner it does not know.

    python benchmarks/private_phantom.py OUT [--hospitals faint bright] [--patients 10 40 160] [--epsilons 0.5 1 2 4 8 inf] [--seeds 1]
        [--no-unets] [--figure FILE.png] [--json]

Hospitals are sites of the phantom with scanners far from its defaults, which the evolution does not know. For each number of patients,
epsilon and seed: the evolution, the distance of its winners from the hidden settings (root mean square over the settings, as fractions
of their ranges) and of their statistics from the hospital's (in deviations between heads of one scanner), and the DSC of a U-net trained on
the drawn set, on test patients of the hospital. Beside it, with no patient: the phantom's defaults and settings drawn evenly from the
ranges; with patients and no promise: real patches of so many patients as --real says. OUT/rows.jsonl has a line each; what is there is not
done again. Volumes are small (96x112x24 voxels of 1.6x1.6x2 mm), so DSC is lower than in the demo. With epsilon inf no noise is drawn.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from angiosynth.arrays import to_levels
from angiosynth.data.intensity import Scan
from angiosynth.data.patch_centres import cut_square, draw_centres
from angiosynth.data.patches import PatchSet
from angiosynth.generators.loop import run_training
from angiosynth.generators.private_evolution.evolution import Evolution, described_patients
from angiosynth.generators.private_evolution.features import whitened
from angiosynth.generators.private_evolution.kinds import PrivatePhantomSettings
from angiosynth.generators.private_evolution.simulator import USUAL, Simulator, SimulatorSampler
from angiosynth.generators.private_evolution.space import DIMENSIONS, RANGES, Candidate, Points, point_of, spread_points
from angiosynth.metrics.segmentation import dsc
from angiosynth.phantom.drawing import generate_patient
from angiosynth.report.style import drawn
from angiosynth.runtime.checkpoint import Checkpoints
from angiosynth.runtime.progress import progress, say
from angiosynth.runtime.recorder import NullRecorder
from angiosynth.segmentation.training import train_segmenter
from angiosynth.settings import PatchSettings, ScannerSettings, UnetSettings

SHAPE, SPACING_MM, SIZE = (96, 112, 24), (1.6, 1.6, 2.0), 32
CUT = PatchSettings(size=SIZE, on_vessels=80, on_bright=60, in_brain=60)
INTENSITY = {"rule": "volume", "low": 0.5, "high": 99.9}
TESTED, PAIRS = 6, 2048  # test patients, drawn pairs
UNET = UnetSettings(width=8, steps=200, learning_rate=2e-3, loss="dice_cross_entropy")
HOSPITALS = {  # hidden: nothing but the drawing of patients and the distances reads them
    "faint": Candidate(3, 0.25, 0.25, 1.2, 1.6, 1.0, 0.15, 0.7, 0.4),
    "bright": Candidate(1, 0.02, 0.7, 2.7, 0.6, 1.0, 0.03, 0.2, 0.08),
}
SCANNER_KEYS = [name for name in RANGES if name != "vein_contrast"]  # a site's veins have the phantom's own brightness


class Shared(Evolution):
    """An evolution whose first round, which is the same for all of a seed, is drawn once."""

    first: ClassVar[dict[int, Any]] = {}

    def _described(self, points: Points) -> Any:
        if self.step:
            return super()._described(points)
        if self.settings.seed not in self.first:
            self.first[self.settings.seed] = super()._described(points)
        return self.first[self.settings.seed]


class WithoutNoise(Shared):
    """The evolution that promises nothing: epsilon infinite."""

    def _noise(self, count: int) -> Any:
        return np.zeros(count, np.int64)

    def _deviation(self) -> Any:
        return 0


def patient(hospital: str, number: int) -> Scan:
    """One patient of a hospital, scaled as section cohort.intensity does; odd numbers are healthy."""
    hidden = HOSPITALS[hospital]
    scanner = ScannerSettings(patients=1, shape=SHAPE, spacing_mm=SPACING_MM, **{key: getattr(hidden, key) for key in SCANNER_KEYS})
    image, brain, label, _ = generate_patient(scanner, 11, number, number % 2 == 0, hospital)
    scaled = image.astype(np.float32)
    low, high = np.percentile(scaled[brain], (INTENSITY["low"], INTENSITY["high"]))
    scaled = np.clip((scaled - low) * 2 / (high - low) - 1, -1, 1).astype(np.float32)
    scaled[~brain] = -1
    return Scan(f"sub-{number:03d}", scaled, brain, label, SPACING_MM, Path(f"{hospital}-{number}"))


def patches_of(scans: Iterator[Scan]) -> PatchSet:
    """Patches of patients, cut as stage patches does, in memory."""
    images, labels, names = [], [], []
    for scan in scans:
        for x, y, z in draw_centres(scan, CUT)[0].tolist():
            images.append(to_levels(cut_square(scan.image[:, :, z], x, y, SIZE, -1.0)))
            labels.append(cut_square(scan.truth[:, :, z], x, y, SIZE, 0))
            names.append(scan.patient)
    return PatchSet(
        np.stack(images), np.stack(labels).astype(np.uint8), np.array(names), np.arange(len(names)), {"intensity": INTENSITY}, Path()
    )


def cached_patches(hospital: str, count: int, folder: Path) -> PatchSet:
    """The patches of a hospital's patients; drawn once, kept beside the rows."""
    path = folder / f"{hospital}-{count}.npz"
    if not path.exists():
        numbers = progress(range(1, count + 1), f"patients of {hospital}", count)
        made = patches_of(patient(hospital, number) for number in numbers)
        np.savez(path, image=made.image, label=made.label, patient=made.patient)
    with np.load(path) as kept:
        return PatchSet(kept["image"], kept["label"], kept["patient"], np.arange(len(kept["image"])), {"intensity": INTENSITY}, Path())


@lru_cache
def tested(hospital: str) -> tuple[Scan, ...]:
    return tuple(patient(hospital, 1001 + number) for number in range(TESTED))


def worth(patches: PatchSet, hospital: str, seed: int) -> list[float]:
    """DSC of each test patient by a U-net trained on the patches; the last step's, so that nobody's scan chooses."""
    settings = UNET.model_copy(update={"seed": seed})
    segmenter = train_segmenter(settings, patches, None, NullRecorder()).segmenter
    return [dsc(scan.truth, segmenter.segment(scan.image, scan.brain)) for scan in tested(hospital)]


def evolved(patches: PatchSet, epsilon: float, seed: int) -> Evolution:
    settings = settings_of(epsilon, seed)
    training = (Shared if math.isfinite(epsilon) else WithoutNoise)(settings, patches)
    with tempfile.TemporaryDirectory() as folder:
        run_training("private-phantom", training, lambda *_: {}, Checkpoints(Path(folder)), NullRecorder())
    return training


def settings_of(epsilon: float, seed: int) -> PrivatePhantomSettings:
    finite = epsilon if math.isfinite(epsilon) else 1.0
    return PrivatePhantomSettings(width=4, epsilon=finite, noise_source="seeded", shape=SHAPE, spacing_mm=SPACING_MM, seed=seed)


def set_of(points: Points, weights: Any, seed: int) -> PatchSet:
    """A set drawn from some settings of the phantom."""
    simulator = Simulator(settings_of(1.0, seed).model_copy(update={"kept": len(points)}), SIZE)
    simulator.points.copy_(torch.from_numpy(points))
    simulator.weights.copy_(torch.as_tensor(weights))
    image, label = SimulatorSampler(simulator).pairs(PAIRS, seed)
    return PatchSet(image, label, np.full(PAIRS, ""), np.arange(PAIRS), {"intensity": INTENSITY}, Path())


def distances(points: Points, weights: Any, hospital: str, real: PatchSet, scale: Evolution, seed: int) -> dict[str, float]:
    """How far the winners are from the hidden settings, and their drawn statistics from the hospital's."""
    hidden = point_of(HOSPITALS[hospital])
    pairs = set_of(points, weights, seed)
    centre, matrix = scale.population.centre.numpy(), scale.population.matrix.numpy()
    there = whitened(described_patients(real), centre, matrix).mean(axis=0)
    here = whitened(described_patients(pairs), centre, matrix).mean(axis=0)
    return {
        "settings": float(np.linalg.norm(weights @ points - hidden) / DIMENSIONS**0.5),
        "statistics": float(np.linalg.norm(here - there)),
    }


def plan(options: argparse.Namespace) -> Iterator[tuple[str, str, int, float, int]]:
    """Hospital, training, patients, epsilon, seed; what a reader needs first comes first."""
    first = [epsilon for epsilon in (1.0, 8.0, math.inf) if epsilon in options.epsilons]
    for seed in options.seeds:
        for epsilons in (first, [epsilon for epsilon in options.epsilons if epsilon not in first]):
            for hospital in options.hospitals:
                if epsilons is first:
                    yield from ((hospital, name, 0, 0.0, seed) for name in ("defaults", "ranges"))
                    yield from ((hospital, "real", count, 0.0, seed) for count in options.real)
                yield from ((hospital, "private", count, epsilon, seed) for epsilon in epsilons for count in options.patients)


def measure(options: argparse.Namespace, rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The rows that are missing."""
    done = {(row["hospital"], row["training"], row["patients"], row["epsilon"], row["seed"]) for row in rows}
    most = max(*options.patients, *options.real)
    for hospital, training, count, epsilon, seed in plan(options):
        if (hospital, training, count, str(epsilon), seed) in done:
            continue
        say(f"{hospital}: {training}, {count} patients, epsilon {epsilon}, seed {seed}")
        everybody = cached_patches(hospital, most, options.out)
        real = everybody.of_patients([f"sub-{number:03d}" for number in range(1, count + 1)]) if count else everybody
        row: dict[str, Any] = {"hospital": hospital, "training": training, "patients": count, "epsilon": str(epsilon), "seed": seed}
        if training == "real":
            pairs = real
        else:
            points, weights = spread_points(64, seed) if training == "ranges" else point_of(USUAL)[None], None
            if training == "private":
                evolution = evolved(real, epsilon, seed)
                points, weights = evolution.average.points.numpy(), evolution.average.weights.numpy()
            weights = np.full(len(points), 1 / len(points)) if weights is None else weights
            row |= distances(points, weights, hospital, everybody, scale_of(seed), seed)
            pairs = set_of(points, weights, seed)
        if options.unets:
            row["dsc"] = worth(pairs, hospital, seed)
        yield row


@lru_cache
def scale_of(seed: int) -> Evolution:
    """An evolution after its first round, which sets the scale of statistics from drawn candidates alone."""
    blank = np.zeros((1, SIZE, SIZE), np.uint8)
    evolution = WithoutNoise(settings_of(math.inf, seed), PatchSet(blank, blank, np.array(["sub-01"]), np.arange(1), {}, Path()))
    evolution.train_step()
    return evolution


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown, means over seeds and test patients."""
    lines = ["| hospital | trained on | patients | epsilon | settings | statistics | DSC |", "|---|---|---:|---:|---:|---:|---:|"]
    keys = dict.fromkeys((row["hospital"], row["training"], row["patients"], row["epsilon"]) for row in rows)
    for key in keys:
        same = [row for row in rows if (row["hospital"], row["training"], row["patients"], row["epsilon"]) == key]
        cells = [f"{np.mean([row[name] for row in same]):.2f}" if name in same[0] else "-" for name in ("settings", "statistics")]
        scores = [value for row in same for value in row.get("dsc", [])]
        epsilon = key[3] if key[1] == "private" else "-"
        lines.append(
            f"| {key[0]} | {key[1]} | {key[2] or '-'} | {epsilon} | {' | '.join(cells)} | {np.mean(scores):.3f} |"
            if scores
            else f"| {key[0]} | {key[1]} | {key[2] or '-'} | {epsilon} | {' | '.join(cells)} | - |"
        )
    return "\n".join(lines)


def figure(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """DSC over epsilon, a line for each number of patients, a panel for each hospital."""
    hospitals = list(dict.fromkeys(row["hospital"] for row in rows))
    with drawn(path, 4.5 * len(hospitals), 3.6) as canvas:
        for place, hospital in enumerate(hospitals, 1):
            axes = canvas.add_subplot(1, len(hospitals), place)
            here = [row for row in rows if row["hospital"] == hospital and "dsc" in row]
            for training, style in (("real", "-"), ("defaults", ":"), ("ranges", "-.")):
                for count in sorted({row["patients"] for row in here if row["training"] == training}):
                    level = np.mean([row["dsc"] for row in here if row["training"] == training and row["patients"] == count])
                    axes.axhline(level, color="black", linestyle=style, linewidth=1, label=f"{training} {count or ''}".strip())
            private = [row for row in here if row["training"] == "private"]
            ticks = sorted({float(row["epsilon"]) for row in private})
            for count in sorted({row["patients"] for row in private}):
                scores = {e: [row["dsc"] for row in private if row["patients"] == count and float(row["epsilon"]) == e] for e in ticks}
                shown = [(ticks.index(e), float(np.mean(values))) for e, values in scores.items() if values]
                axes.plot(*zip(*shown, strict=True), marker="o", label=f"{count} patients")
            axes.set_xticks(range(len(ticks)), [f"{tick:g}" for tick in ticks])
            axes.set(title=hospital, xlabel="epsilon of a patient", ylabel="DSC")
            axes.legend(fontsize=7)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--hospitals", nargs="+", choices=HOSPITALS, default=list(HOSPITALS))
    parser.add_argument("--patients", nargs="+", type=int, default=[10, 40, 160])
    parser.add_argument("--real", nargs="+", type=int, default=[40])
    parser.add_argument("--epsilons", nargs="+", type=float, default=[0.5, 1, 2, 4, 8, math.inf])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    parser.add_argument("--no-unets", dest="unets", action="store_false")
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / "rows.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    for row in measure(options, rows):
        rows.append(row)
        with file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")
    for line in table(rows).splitlines():
        say(line)
    if options.figure:
        figure(rows, options.figure)
    if options.json:
        say(json.dumps(rows))


if __name__ == "__main__":
    main()
