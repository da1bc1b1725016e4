"""What differential privacy per patient costs: private evolution of the phantom for hospitals whose scanner it does not know.

    python -m benchmarks.private_phantom --only N,EPSILON,SEED ... [--hospitals faint] [--cache FOLDER] [--rows FILE.jsonl] [--no-unets]
    python -m benchmarks.private_phantom --jobs [--patients 10 40 160] [--epsilons 0.5 1 2 4 8 inf] [--seeds 1 2 3]
    python -m benchmarks.private_phantom --collect ROWS.jsonl ... [--figure FILE.png] [--json]

A job is one evolution: N patients, an epsilon, a seed; it prints a JSON object a line on standard output. `inf` draws no noise; `real` is
no evolution but the N patients' own patches and `wgan-gp` the demo's WGAN-GP trained on them, which promise nothing; N = 0 asks nobody: the
phantom's defaults, settings drawn evenly from the public ranges, and the hidden settings themselves, which nobody has, as the best that
votes could find. --jobs prints what --only takes, one a line, for as many processes as there are cores (xargs -P); with --cache they share
the hospitals' patients. --rows keeps the rows of each job as it ends and leaves out those that it holds, so that a run can be continued;
--drawings makes fewer of the sets. In set `unlabelled`, drawn from the posterior too, nobody needs a label to vote. Neither MLflow nor DVC
nor Optuna is needed.

Hospitals are sites of the phantom with scanners far from its defaults, which the evolution does not know. A row has the distance of the
drawn settings from the hidden ones (root mean square over the settings, as fractions of their ranges; `settings` and by setting: of their
mean, `draw`: of a single one), of the set's statistics from the hospital's (in deviations between heads of one scanner), and the DSC of a
U-net trained on the drawn set, on test patients of the hospital. The evolution's constants are chosen at hospitals `drawn-1`, `drawn-2`
..., whose scanners are drawn evenly from the ranges. Volumes are small (96x112x24 voxels of 1.6x1.6x2 mm), so DSC is below the demo's.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from angiosynth.data.intensity import Scan
from angiosynth.data.patches import PatchSet
from angiosynth.generators.loop import run_training
from angiosynth.generators.private_evolution.evolution import Evolution, described_patients
from angiosynth.generators.private_evolution.features import whitened
from angiosynth.generators.private_evolution.kinds import PrivatePhantomSettings
from angiosynth.generators.private_evolution.simulator import DEFAULTS, Simulator, SimulatorSampler
from angiosynth.generators.private_evolution.space import DIMENSIONS, RANGES, Points, point_of, reflected, spread_points
from angiosynth.metrics.segmentation import dsc
from angiosynth.runtime.checkpoint import Checkpoints
from angiosynth.runtime.progress import tell
from angiosynth.runtime.recorder import NullRecorder
from angiosynth.segmentation.training import train_segmenter
from angiosynth.settings import Settings, UnetSettings, load_settings
from benchmarks.models import made_by
from benchmarks.private_hospitals import (
    HOSPITALS,
    INTENSITY,
    SHAPE,
    SIZE,
    SPACING_MM,
    hidden_settings,
    hospital_name,
    patches_of_hospital,
    patient,
    tested,
)
from benchmarks.private_tables import figure, table

PROFILE = Path(__file__).resolve().parents[1] / "profiles" / "demo.yaml"  # of a GAN
PAIRS = 2048  # of a drawn set
EVEN = 64  # settings drawn evenly from the ranges, or around winners
REFERENCE = 20  # patients whose mean statistics stand for the hospital
KERNEL = 0.1  # deviation, in ranges, of settings drawn around the winners
UNET = UnetSettings(width=8, steps=200, learning_rate=2e-3, loss="dice_cross_entropy")
REAL, GAN, PROBED = "real", "wgan-gp", 2001  # what promises nothing, and the number of the patient whose scan chooses the GAN's checkpoint
EVOLVED, NOBODY = ("winners", "around winners", "posterior", "unlabelled"), ("defaults", "ranges", "hidden settings")
ALL = (*EVOLVED, *NOBODY, REAL, GAN)
Drawn = tuple[Points, Any]  # settings of the phantom and the share of each in a set


class WithoutNoise(Evolution):
    """The evolution that promises nothing: epsilon infinite."""

    def _noise(self, count: int) -> Any:
        return np.zeros(count, np.int64)

    def _deviation(self) -> Any:
        return 0


def settings_of(epsilon: float, seed: int) -> PrivatePhantomSettings:
    finite = epsilon if math.isfinite(epsilon) else 1.0
    return PrivatePhantomSettings(width=4, epsilon=finite, noise_source="seeded", shape=SHAPE, spacing_mm=SPACING_MM, seed=seed)


def evolved(patches: PatchSet, epsilon: float, seed: int, proposals: str, **grid: Any) -> Evolution:
    """An evolution that has ended; `grid`: shape and spacing_mm, where they are not those of the drawn hospitals."""
    settings = settings_of(epsilon, seed).model_copy(update={"proposals": proposals, **grid})
    training = (Evolution if math.isfinite(epsilon) else WithoutNoise)(settings, patches)
    with tempfile.TemporaryDirectory() as folder:
        run_training("private-phantom", training, lambda *_: {}, Checkpoints(Path(folder)), NullRecorder())
    return training


def around(points: Points, weights: Any, seed: int) -> Drawn:
    """Settings around the winners: a normal step of public width in each, reflected at the ranges' ends."""
    rng = np.random.default_rng([seed, 77])
    moved = points[rng.choice(len(points), EVEN, p=weights)] + KERNEL * rng.standard_normal((EVEN, DIMENSIONS))
    return reflected(moved), np.full(EVEN, 1 / EVEN)


def drawings(job: str, hospital: str, cache: Path, wanted: Sequence[str]) -> Iterator[tuple[str, Drawn]]:
    """Name and settings of each wanted set that a job compares."""
    count, epsilon, seed = parsed(job)
    if not count:
        points = (point_of(DEFAULTS)[None], spread_points(EVEN, seed), point_of(hidden_settings(hospital))[None])
        yield from ((name, (each, np.full(len(each), 1 / len(each)))) for name, each in zip(NOBODY, points, strict=True) if name in wanted)
        return
    if "winners" in wanted or "around winners" in wanted:
        winners = evolved(patches_of_hospital(hospital, count, cache), float(epsilon), seed, "winners").average
        if "winners" in wanted:
            yield "winners", (winners.points.numpy(), winners.weights.numpy())
        if "around winners" in wanted:
            yield "around winners", around(winners.points.numpy(), winners.weights.numpy(), seed)
    for name in ("posterior", "unlabelled"):
        if name in wanted:
            voters = patches_of_hospital(hospital, count, cache, labelled=name == "posterior")
            posterior = evolved(voters, float(epsilon), seed, "posterior").average
            yield name, (posterior.points.numpy(), posterior.weights.numpy())


def gan_settings(seed: int) -> Settings:
    """The demo's settings with this seed, and as many pairs as any drawn set has."""
    settings = load_settings(PROFILE)
    generators = {name: generator.model_copy(update={"seed": seed}) for name, generator in settings.generators.items()}
    changes = {"generators": generators, "synthesis": settings.synthesis.model_copy(update={"pairs": PAIRS, "seed": seed})}
    return settings.model_copy(update=changes)


def set_of(points: Points, weights: Any, seed: int, **grid: Any) -> PatchSet:
    """A set drawn from some settings of the phantom; `grid` as in `evolved`."""
    settings = settings_of(1.0, seed).model_copy(update={"kept": len(points), "proposals": "winners", **grid})
    simulator = Simulator(settings, SIZE)
    simulator.points.copy_(torch.from_numpy(points))
    simulator.weights.copy_(torch.as_tensor(weights))
    image, label = SimulatorSampler(simulator).pairs(PAIRS, seed)
    return PatchSet(image, label, np.full(PAIRS, ""), np.arange(PAIRS), {"intensity": INTENSITY}, Path())


def distances(settings: Drawn, pairs: PatchSet, hospital: str, cache: Path, seed: int) -> dict[str, Any]:
    """How far the drawn settings are from the hidden ones, and the set's statistics from the hospital's."""
    points, weights = settings
    population = scale_of(seed).population
    centre, matrix = population.centre.numpy(), population.matrix.numpy()
    reference = described_patients(patches_of_hospital(hospital, REFERENCE, cache))
    apart = whitened(described_patients(pairs), centre, matrix).mean(axis=0) - whitened(reference, centre, matrix).mean(axis=0)
    hidden = point_of(hidden_settings(hospital))
    missed = weights @ points - hidden
    return {
        "settings": float(np.linalg.norm(missed) / DIMENSIONS**0.5),
        "draw": float(weights @ np.square(points - hidden).mean(axis=1)) ** 0.5,
        "missed": {name: round(float(value), 3) for name, value in zip(RANGES, missed, strict=True)},
        "statistics": float(np.linalg.norm(apart)),
    }


@lru_cache
def scale_of(seed: int) -> Evolution:
    """An evolution after its first round, which sets the scale of statistics from drawn candidates alone."""
    blank = np.zeros((1, SIZE, SIZE), np.uint8)
    evolution = WithoutNoise(settings_of(math.inf, seed), PatchSet(blank, blank, np.array(["sub-01"]), np.arange(1), {}, Path()))
    evolution.train_step()
    return evolution


def worth(patches: PatchSet, hospital: str, seed: int) -> list[float]:
    """DSC of each test patient by a U-net trained on the patches; the last step's, so that nobody's scan chooses."""
    return scored(patches, tested(hospital), seed)


def scored(patches: PatchSet, scans: Sequence[Scan], seed: int) -> list[float]:
    """DSC of each scan."""
    segmenter = train_segmenter(UNET.model_copy(update={"seed": seed}), patches, None, NullRecorder()).segmenter
    return [dsc(scan.truth, segmenter.segment(scan.image, scan.brain)) for scan in scans]


def parsed(job: str) -> tuple[int, str, int]:
    """Patients, epsilon and seed of a job."""
    count, epsilon, seed = job.split(",")
    if epsilon not in (REAL, GAN):
        float(epsilon)
    return int(count), epsilon, int(seed)


def run_job(job: str, hospital: str, cache: Path, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The rows of a job."""
    count, epsilon, seed = parsed(job)
    row = {"hospital": hospital, "patients": count, "epsilon": epsilon, "seed": seed}
    if epsilon in (REAL, GAN):
        if epsilon in options.drawings:
            real = patches_of_hospital(hospital, count, cache)
            learnt = real if epsilon == REAL else made_by(GAN, gan_settings(seed), real, [patient(hospital, PROBED)])[0]
            yield row | {"drawing": epsilon, "dsc": worth(learnt, hospital, seed)}
        return
    for name, settings in drawings(job, hospital, cache, options.drawings):
        pairs = set_of(*settings, seed)
        scores = {"dsc": worth(pairs, hospital, seed)} if options.unets else {}
        yield row | {"drawing": name, **distances(settings, pairs, hospital, cache, seed), **scores}


def run_jobs(options: argparse.Namespace, cache: Path) -> None:
    """Tell the rows of all jobs at all hospitals, and keep them with --rows, a job's as soon as it ends."""
    held: set[tuple[Any, ...]] = set()
    if options.rows and options.rows.exists():
        rows = map(json.loads, options.rows.read_text(encoding="utf-8").splitlines())
        held = {(row["hospital"], row["patients"], row["epsilon"], row["seed"], row["drawing"]) for row in rows}
    for job in options.only:
        for hospital in options.hospitals:
            wanted = [name for name in options.drawings if (hospital, *parsed(job), name) not in held]
            lines = [json.dumps(row) for row in run_job(job, hospital, cache, argparse.Namespace(**vars(options) | {"drawings": wanted}))]
            if lines:
                tell(*lines)
            if options.rows:
                with options.rows.open("a", encoding="utf-8") as file:
                    file.write("".join(f"{line}\n" for line in lines))


def jobs(options: argparse.Namespace) -> Iterator[str]:
    """What --only takes, seed by seed, so that the first finished ones already have every row."""
    for seed in options.seeds:
        yield f"0,0,{seed}"
        yield from (f"{count},real,{seed}" for count in options.real)
        yield from (f"{count},{epsilon},{seed}" for epsilon in options.epsilons for count in options.patients)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--only", nargs="+", metavar="N,EPSILON,SEED")
    action.add_argument("--jobs", action="store_true")
    action.add_argument("--collect", nargs="+", type=Path, metavar="ROWS.jsonl")
    parser.add_argument("--hospitals", nargs="+", type=hospital_name, default=list(HOSPITALS), help="also drawn-1, drawn-2 ...")
    parser.add_argument("--cache", type=Path, help="keeps the hospitals' patients for other jobs")
    parser.add_argument("--rows", type=Path, metavar="FILE.jsonl", help="keeps each job's rows; jobs of which it has rows are left out")
    parser.add_argument("--drawings", nargs="+", choices=ALL, default=list(ALL), help="sets to make, of those of a job")
    parser.add_argument("--no-unets", dest="unets", action="store_false")
    parser.add_argument("--patients", nargs="+", type=int, default=[10, 40, 160])
    parser.add_argument("--real", nargs="+", type=int, default=[40])
    parser.add_argument("--epsilons", nargs="+", default=["0.5", "1", "2", "4", "8", "inf"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--drawing", default="posterior", choices=EVOLVED, help="which sets the figure shows")
    parser.add_argument("--json", action="store_true", help="with --collect: all rows instead of the table")
    options = parser.parse_args(arguments)
    if options.jobs:
        tell(*jobs(options))
    elif options.only:
        with tempfile.TemporaryDirectory() as folder:
            run_jobs(options, options.cache or Path(folder))
    else:
        rows = [json.loads(line) for path in options.collect for line in path.read_text(encoding="utf-8").splitlines()]
        tell(*(map(json.dumps, rows) if options.json else table(rows).splitlines()))
        if options.figure:
            figure(rows, options.figure, options.drawing)


if __name__ == "__main__":
    main()
