"""Attacks on private evolution: does anybody who sees every noisy vote learn more of one extreme patient than epsilon allows?

    python benchmarks/private_attack.py [--evolutions 100] [--epsilons 1 8] [--json]

For each epsilon so many evolutions with and so many without one patient whose scan is unlike all others', so that he votes alone. The
attacker knows all that there is but whether he took part: the other patients' votes, the candidates, the patient's scan; and he sees the
noisy sums of all rounds, which are more than a set shows. His score is the sum of the noise-laden votes for the patient's candidates less
the others' votes, the likelihood ratio's statistic; his threshold, half of the patient's votes, is fixed beforehand. From true and false
positives and their 95% Clopper-Pearson bounds follows the least epsilon with which they could be (Jagielski et al. 2020). It must not
exceed the promised one. A control draws a quarter of the noise, to see what the attack finds where the promise is broken. So many
evolutions cannot show an epsilon above about 3.3, even where all are told apart.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from angiosynth.arrays import to_levels
from angiosynth.data.patches import PatchSet
from angiosynth.generators.private_evolution.evolution import Evolution, described_patients
from angiosynth.generators.private_evolution.features import whitened
from angiosynth.generators.private_evolution.kinds import PrivatePhantomSettings
from angiosynth.generators.private_evolution.simulator import DEFAULTS, cut, draw_centres, head_of, scan_head
from angiosynth.generators.private_evolution.space import Candidate, Points
from angiosynth.generators.private_evolution.voting import tally, vote
from angiosynth.runtime.progress import progress, say
from benchmarks.shares import exact_interval

SHAPE, SPACING_MM, SIZE = (40, 40, 4), (4.8, 4.8, 12.0), 16
OTHERS, PATCHES = 20, 60
EXTREME = Candidate(4, 0.35, 0.8, 1.0, 2.0, 1.6, 0.2, 0.9, 0.5)
TARGET = "sub-999"


class Watched(Evolution):
    """An evolution that keeps the attacker's score, and whose noise can be made too small for the control."""

    first: ClassVar[list[Any]] = []  # statistics of the first round's candidates, the same in all evolutions
    quieter = 1
    target: NDArray[np.float64]
    others: NDArray[np.float64]
    score = 0

    def _described(self, points: Points) -> Any:
        if self.step:
            return super()._described(points)
        if not self.first:
            self.first.append(super()._described(points))
        return self.first[0]

    def _noisy_votes(self, described: NDArray[np.float64]) -> Any:
        noisy = super()._noisy_votes(described)
        scale = self.population.centre.numpy(), self.population.matrix.numpy()
        candidates = whitened(described, *scale)
        ballot = vote(whitened(self.target[None], *scale)[0], candidates, self.settings.votes)
        self.score += int(ballot @ (noisy - tally(whitened(self.others, *scale), candidates, self.settings.votes)))
        return noisy

    def _deviation(self) -> Any:
        return super()._deviation() / self.quieter


def settings_of(epsilon: float) -> PrivatePhantomSettings:
    return PrivatePhantomSettings(
        width=4, steps=2, candidates=6, votes=2, kept=2, epsilon=epsilon, shape=SHAPE, spacing_mm=SPACING_MM
    )  # the secure source of noise


def scanned(candidate: Candidate, number: int) -> NDArray[np.uint8]:
    head = head_of(SHAPE, SPACING_MM, 77, number % 5, False)
    rng = np.random.default_rng([5, number])
    return to_levels(cut(scan_head(head, candidate, (0.5, 99.9), rng), draw_centres(head, settings_of(1.0), PATCHES, rng), SIZE, -1.0))


def hospital() -> PatchSet:
    """Other patients of one scanner, and the extreme one."""
    images = [*(scanned(DEFAULTS, number) for number in range(OTHERS)), scanned(EXTREME, OTHERS)]
    names = [f"sub-{number:03d}" for number in range(OTHERS)] + [TARGET]
    stack = np.concatenate(images)
    meta = {"intensity": {"rule": "volume", "low": 0.5, "high": 99.9}}
    return PatchSet(stack, np.zeros_like(stack), np.repeat(names, PATCHES), np.arange(len(stack)), meta, Path())


def scores(everybody: PatchSet, takes_part: bool, epsilon: float, quieter: int, count: int) -> list[int]:
    """The attacker's score of each evolution."""
    without = everybody.of_patients(sorted(set(everybody.patient.tolist()) - {TARGET}))
    target = described_patients(everybody.of_patients([TARGET]))[0]
    found = []
    title = f"epsilon {epsilon:g}, noise 1/{quieter}, {'with' if takes_part else 'without'} the patient"
    training = Watched(settings_of(epsilon), everybody if takes_part else without)
    training.quieter, training.target, training.others = quieter, target, described_patients(without)
    start = copy.deepcopy(training.state())
    for _ in progress(range(count), title, count):
        training.restore(copy.deepcopy(start))
        training.score = 0
        for _ in range(training.settings.steps):
            training.train_step()
        found.append(training.score)
    return found


def judged(inside: list[int], outside: list[int], epsilon: float) -> dict[str, float]:
    """Rates of the attack at the threshold, the bound on true positives, and the least epsilon that explains the rates."""
    settings = settings_of(epsilon)
    votes, count = settings.steps * settings.votes, len(inside)
    true, false = sum(score > votes / 2 for score in inside), sum(score > votes / 2 for score in outside)
    low, high = exact_interval(true, count)[0], exact_interval(false, count)[1]
    return {
        "true_positives": true / count,
        "false_positives": false / count,
        "allowed": min(1.0, math.exp(epsilon) * false / count + settings.delta),
        "allowed_high": min(1.0, math.exp(epsilon) * high + settings.delta),
        "least_epsilon": math.log(max(low - settings.delta, 1e-9) / high),
        "auc": float(np.mean(np.sign(np.subtract.outer(inside, outside)) / 2 + 0.5)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--evolutions", type=int, default=100)
    parser.add_argument("--epsilons", nargs="+", type=float, default=[1.0, 8.0])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    everybody, rows = hospital(), []
    for epsilon in options.epsilons:
        for quieter in (1, 4):
            inside, outside = (scores(everybody, takes_part, epsilon, quieter, options.evolutions) for takes_part in (True, False))
            rows.append({"epsilon": epsilon, "noise": 1 / quieter, **judged(inside, outside, epsilon)})
    say("| epsilon | noise | true positives | false positives | allowed | allowed, 95% | AUC | least epsilon, 95% |")
    say("|---:|---:|---:|---:|---:|---:|---:|---:|")
    for row in rows:
        rates = " | ".join(f"{row[name]:.2f}" for name in ("true_positives", "false_positives", "allowed", "allowed_high", "auc"))
        say(f"| {row['epsilon']:g} | {row['noise']:g} | {rates} | {row['least_epsilon']:.2f} |")
    if options.json:
        say(json.dumps(rows))


if __name__ == "__main__":
    main()
