"""Private evolution of the phantom's settings (Lin et al., ICLR 2024; with simulators: Sim-PE, arXiv 2502.05505).

A round: draw heads by each candidate, describe them by public statistics, let each patient vote for the candidates nearest to him, add
noise to the sum of votes, keep the winners and vary them. The sum of votes is the only thing that is computed from patients, and nothing
but the noisy sum is used or kept afterwards, in resume files too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from angiosynth.arrays import Image, to_levels
from angiosynth.data.patches import PatchSet
from angiosynth.errors import InputError
from angiosynth.generators.base import Probe, TrainedGenerator
from angiosynth.generators.loop import Training, check_patches, run_training
from angiosynth.generators.private_evolution.accounting import deviation_for, promise
from angiosynth.generators.private_evolution.features import COUNT, describe, whitened, whitening
from angiosynth.generators.private_evolution.kinds import PrivatePhantomSettings
from angiosynth.generators.private_evolution.noise import discrete_gaussian, source_of
from angiosynth.generators.private_evolution.posterior import SAMPLES, Round, VoteModel, posterior_samples
from angiosynth.generators.private_evolution.simulator import (
    Head,
    Simulator,
    SimulatorSampler,
    cut,
    draw_centres,
    draw_unlabelled_centres,
    head_of,
    is_sick,
    scan_head,
)
from angiosynth.generators.private_evolution.space import DIMENSIONS, candidate_at, spread_points, varied
from angiosynth.generators.private_evolution.voting import Votes, tally, winners
from angiosynth.runtime.checkpoint import Checkpoints
from angiosynth.runtime.recorder import Recorder

DESCRIBED = 400  # patches by which a candidate's scan of a head is described
# Of the candidates that a posterior proposes, one in so many is spread over the ranges instead. A patient votes for the nearest candidates
# however far they are: were all of them from the posterior, nothing could contradict one that the first round has misled.
SPREAD = 4
FIRST_STEP, NARROWING = 0.25, 0.65  # of the variations after the first round, and from round to round, in the unit cube


class _Population(nn.Module):
    """The candidates of the next round, the scale of statistics, and what is public of past rounds, as buffers."""

    points: Tensor
    centre: Tensor
    matrix: Tensor
    past_points: Tensor
    past_described: Tensor
    past_noisy: Tensor

    def __init__(self, settings: PrivatePhantomSettings) -> None:
        super().__init__()
        self.register_buffer("points", torch.from_numpy(spread_points(settings.candidates, settings.seed)))
        self.register_buffer("centre", torch.zeros(COUNT, dtype=torch.float64))
        self.register_buffer("matrix", torch.zeros(COUNT, COUNT, dtype=torch.float64))
        past = settings.steps, settings.candidates
        self.register_buffer("past_points", torch.zeros(*past, DIMENSIONS, dtype=torch.float64))
        self.register_buffer("past_described", torch.zeros(*past, COUNT, dtype=torch.float64))
        self.register_buffer("past_noisy", torch.zeros(*past, dtype=torch.float64))


class Evolution(Training[PrivatePhantomSettings]):
    """State of one private evolution."""

    average: Simulator
    log_every = 1

    def __init__(self, settings: PrivatePhantomSettings, patches: PatchSet) -> None:
        super().__init__(settings, patches)
        self.average = Simulator(settings, patches.size)
        intensity = patches.meta.get("intensity", {})
        self.average.percentiles[0], self.average.percentiles[1] = intensity.get("low", 0.5), intensity.get("high", 99.9)
        self.population = _Population(settings)
        self.patients = described_patients(patches)

    def train_step(self) -> dict[str, Tensor]:
        """One round of voting; returns the winners' noisy share of the votes and their spread, which noise protects as well."""
        settings, points = self.settings, self.population.points.numpy().copy()
        described = self._described(points)
        if self.step == 0:  # once, on candidates all over the cube: the scale of the statistics
            centre, matrix = whitening(described)
            self.population.centre.copy_(torch.from_numpy(centre))
            self.population.matrix.copy_(torch.from_numpy(matrix))
        means = described.mean(axis=1)
        noisy = self._noisy_votes(means)
        # from here on nothing looks at a patient
        self._remember(points, means, noisy)
        best, weights = winners(noisy, float(self._deviation()), settings.kept)
        if settings.proposals == "winners":
            self.average.points.copy_(torch.from_numpy(points[best]))
            self.average.weights.copy_(torch.from_numpy(weights))
            self._vary(points[best], weights)
        else:
            self._draw_posterior()
        self.step += 1
        share = noisy[best].sum() / max(1, int(np.abs(noisy).sum()))
        return {"winners_share": torch.tensor(float(share)), "winners_spread": torch.tensor(float(points[best].std(axis=0).mean()))}

    def _noisy_votes(self, described: NDArray[np.float64]) -> Votes:
        """The sum of all patients' votes with noise: the one place where patients are looked at."""
        settings = self.settings
        centre, matrix = self.population.centre.numpy(), self.population.matrix.numpy()
        votes = tally(whitened(self.patients, centre, matrix), whitened(described, centre, matrix), settings.votes)
        return votes + self._noise(len(votes))

    def _noise(self, count: int) -> Votes:
        source = source_of(self.settings.noise_source, self.settings.seed, self.step)
        return discrete_gaussian(self._deviation() ** 2, count, source)

    def _deviation(self) -> Any:
        settings = self.settings
        return deviation_for(settings.epsilon, settings.delta, settings.steps * settings.votes)

    def _described(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Statistics (candidates, heads, k) of drawn scans. A round has other heads than the one before, all its candidates the same."""
        settings, percentiles = self.settings, (float(self.average.percentiles[0]), float(self.average.percentiles[1]))
        described = np.zeros((len(points), settings.heads, COUNT))
        for place in range(settings.heads):
            number = self.step % 2 * settings.heads + place  # two sets of heads take turns: drawing them takes longer than scanning
            head = head_of(settings.shape, settings.spacing_mm, settings.seed, number, is_sick(number, settings.diseased))
            for row, point in enumerate(points):
                rng = np.random.default_rng([settings.seed, self.step, number, row])
                image = scan_head(head, candidate_at(point), percentiles, rng)
                centres = self._centres(head, image, rng)
                described[row, place] = describe(to_levels(cut(image, centres, self.patches.size, -1.0)))
        return described

    def _centres(self, head: Head, image: Image, rng: np.random.Generator) -> NDArray[np.int64]:
        """Centres of a candidate's patches, drawn in a scan as in those of the patients, with the label or without."""
        if self.patches.meta.get("labelled", True):
            return draw_centres(head, self.settings, DESCRIBED, rng)
        return draw_unlabelled_centres(head, image, self.settings, DESCRIBED, rng)

    def _vary(self, parents: NDArray[np.float64], weights: NDArray[np.float64]) -> None:
        """The next round's candidates: the winners themselves and variations, the closer to them the later the round."""
        seed = int(torch.randint(2**31, (1,), generator=self.random))
        count = self.settings.candidates - len(parents)
        children = varied(parents, weights, count, FIRST_STEP * NARROWING**self.step, np.random.default_rng(seed))
        self.population.points.copy_(torch.from_numpy(np.concatenate([parents, children])))

    def _remember(self, points: NDArray[np.float64], described: NDArray[np.float64], noisy: Votes) -> None:
        population = self.population
        population.past_points[self.step] = torch.from_numpy(points)
        population.past_described[self.step] = torch.from_numpy(whitened(described, population.centre.numpy(), population.matrix.numpy()))
        population.past_noisy[self.step] = torch.from_numpy(noisy.astype(np.float64))

    def _draw_posterior(self) -> None:
        """The next round's candidates and the settings of the set: samples of what all rounds' noisy votes speak for."""
        population, settings = self.population, self.settings
        past = (population.past_points, population.past_described, population.past_noisy)
        rounds = [Round(*(buffer[step].numpy() for buffer in past)) for step in range(self.step + 1)]
        rng = np.random.default_rng(int(torch.randint(2**31, (1,), generator=self.random)))
        model = VoteModel(rounds, float(self._deviation()), settings.votes, rng)
        samples = posterior_samples(model, spread_points(SAMPLES, settings.seed), rng)
        order = rng.permutation(len(samples))
        self.average.points.copy_(torch.from_numpy(samples[order[: len(self.average.points)]]))
        proposed = samples[order[-settings.candidates :]]
        spread = spread_later(settings, self.step)
        proposed[: len(spread)] = spread
        population.points.copy_(torch.from_numpy(proposed))

    def rates(self) -> dict[str, float]:
        """There is no learning rate."""
        return {}

    def averaged(self) -> Simulator:
        """The winners of the last round."""
        return self.average

    def sampler(self) -> SimulatorSampler:
        """Draws from the winners of the last round."""
        return SimulatorSampler(self.average)

    def audited(self) -> dict[str, dict[str, Tensor]]:
        """Nothing besides the generator."""
        return {}

    def modules(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        return {"average": self.average, "population": self.population}


def spread_later(settings: PrivatePhantomSettings, step: int) -> NDArray[np.float64]:
    """The candidates all over the ranges that follow round `step`: those of the first round's sequence that no round has had yet."""
    share = settings.candidates // SPREAD
    start = settings.candidates + step * share
    return spread_points(start + share, settings.seed)[start:]


def described_patients(patches: PatchSet) -> NDArray[np.float64]:
    """Statistics (patients, k) of each patient's images. Labels are not read."""
    names = patches.patient[patches.rows]
    return np.stack([describe(patches.image[patches.rows[names == name]]) for name in np.unique(names)])


def evolve(
    name: str, settings: PrivatePhantomSettings, patches: PatchSet, probe: Probe, checkpoints: Checkpoints, recorder: Recorder
) -> TrainedGenerator:
    """Evolve the phantom's settings by the votes of training patients: see `Family.train`. The probe is never asked.

    Raises:
        InputError: delta is no less than one over the number of patients, or intensities are scaled patch by patch.
    """
    check_patches(patches)
    if patches.meta.get("intensity", {}).get("rule", "volume") != "volume":
        raise InputError(
            f"generators.{name}: draws whole scans, so it needs cohort.intensity.rule volume; set it, or leave this generator out"
        )
    training = Evolution(settings, patches)
    patients = len(training.patients)
    if settings.delta * patients >= 1:
        raise InputError(
            f"generators.{name}.delta: {settings.delta:g} promises nothing to {patients} patients; set it far below 1/{patients}"
        )
    trained = run_training(name, training, probe, checkpoints, recorder)
    trained.promise.update(promise(settings, patients))
    return trained
