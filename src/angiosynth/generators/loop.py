"""The training loop of every family that trains a network step by step, and the state that such trainings have in common."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from angiosynth.compute.distributed import any_of, check_batch, local_rows, mean_over_all, rank
from angiosynth.compute.precision import device
from angiosynth.data.patches import PatchSet
from angiosynth.errors import InputError
from angiosynth.generators.base import GeneratorSettings, Probe, Sampler, TrainedGenerator
from angiosynth.generators.schedule import WATCHED, probe_steps, watch_steps
from angiosynth.runtime.checkpoint import Checkpoints
from angiosynth.runtime.progress import progress, say
from angiosynth.runtime.recorder import Recorder
from angiosynth.runtime.stop import EXIT_CODE, heeding_sigterm

S = TypeVar("S", bound=GeneratorSettings)


class Training(ABC, Generic[S]):
    """State of one training: its step, random numbers, curve, the best generator so far. A family adds networks and optimisers."""

    average: nn.Module  # the generator that is scored, drawn from and kept; its weights are averaged over the steps
    log_every = 20  # steps between two records of losses

    def __init__(self, settings: S, patches: PatchSet) -> None:
        check_batch(settings.batch_size)
        self.settings, self.patches = settings, patches
        self.device = device()
        self.random = torch.Generator().manual_seed(settings.seed)
        self.step = 0
        self.curve: list[dict[str, float]] = []
        self.best: dict[str, Any] = {}
        self.watched: dict[int, tuple[Tensor, Tensor]] = {}

    @abstractmethod
    def train_step(self) -> dict[str, Tensor]:
        """Train one step and count it; returns losses and other scalars by name."""

    @abstractmethod
    def rates(self) -> dict[str, float]:
        """The learning rates of the last step, as they are recorded."""

    @abstractmethod
    def averaged(self) -> nn.Module:
        """`average`, ready to draw from."""

    @abstractmethod
    def sampler(self) -> Sampler:
        """Draws from `averaged`."""

    @abstractmethod
    def modules(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        """Everything whose `state_dict` belongs to the state."""

    @abstractmethod
    def audited(self) -> dict[str, dict[str, Tensor]]:
        """The weights at the end that only the audit reads: `TrainedGenerator.audited`."""

    def real_batch(self, flip: bool) -> tuple[Tensor, Tensor]:
        """This process's rows of a random batch: image and label, (n, x, y) each, where `flip` mirrored left-right at random."""
        count = self.settings.batch_size
        rows = local_rows(torch.randint(len(self.patches), (count,), generator=self.random)).numpy()
        image, label = (torch.from_numpy(array) for array in self.patches.pairs(rows))
        if flip:
            mirrored = (local_rows(torch.rand(count, generator=self.random)) < 0.5)[:, None, None]
            image, label = (torch.where(mirrored, part.flip(1), part) for part in (image, label))
        return image, label

    @torch.no_grad()
    def update_average(self, network: nn.Module, decay: float) -> None:
        """Exponential moving average of the network's weights. At first the decay is smaller, so that the initial weights fade soon."""
        decay = min(decay, self.step / (self.step + 10.0))
        for average, current in zip(self.average.parameters(), network.parameters(), strict=True):
            average.lerp_(current, 1.0 - decay)

    def choose(self, scores: dict[str, float]) -> None:
        """Remember the averaged generator if it is the best so far by validation patients."""
        score = scores.get("probe_dsc", float(self.step))
        if not self.best or score > self.best["score"]:
            self.best = {"score": score, "step": self.step, "scores": scores, "weights": copied(self.average)}

    def watch(self) -> None:
        """Keep the averaged generator's pairs of a few fixed random numbers, for the strip of progress."""
        image, label = self.sampler().pairs(WATCHED, seed=0)
        self.watched[self.step] = torch.from_numpy(image), torch.from_numpy(label)

    def state(self) -> dict[str, Any]:
        """The state that a resumed training needs."""
        return {
            **{name: module.state_dict() for name, module in self.modules().items()},
            "random": self.random.get_state(),
            "step": self.step,
            "curve": self.curve,
            "best": self.best,
            "watched": self.watched,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a saved `state`."""
        for name, module in self.modules().items():
            module.load_state_dict(state[name])
        self.random.set_state(state["random"])
        self.step, self.curve, self.best, self.watched = state["step"], state["curve"], state["best"], state["watched"]


def copied(network: nn.Module) -> dict[str, Tensor]:
    """The network's weights on the CPU, apart from those that training goes on to change."""
    return {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}


def check_patches(patches: PatchSet) -> None:
    """Raise InputError unless there is something to train on."""
    if len(patches) == 0:
        raise InputError(f"{patches.folder}: holds no patches to train on; check the split in params.yaml, section cohort")


def run_training(name: str, training: Training[Any], probe: Probe, checkpoints: Checkpoints, recorder: Recorder) -> TrainedGenerator:
    """Run a training from its last resume file to its end, and choose a generator: see `Family.train`."""
    saved = checkpoints.load()
    if saved is not None:
        training.restore(saved)
        say(f"train-generator {name}: goes on at step {training.step}")
    settings = training.settings
    steps, every = settings.steps, settings.checkpoint_every
    with heeding_sigterm() as terminated:
        remaining = range(training.step, steps)
        for _ in remaining if rank() else progress(remaining, f"train-generator {name}", steps, done=training.step):
            numbers = training.train_step()
            # decide what to do after this step; all processes decide alike
            stops, watches = any_of(terminated()), training.step in watch_steps(steps)
            logs, saves = training.step % training.log_every == 0 or training.step == steps, training.step % every == 0 or stops
            values = _finite(numbers, training, name) if logs or saves or watches else {}  # no state is kept that was not checked
            # every few steps: record losses and learning rates
            if logs:
                values |= training.rates()
                training.curve.append({"step": training.step, **values})
                recorder.metrics(values, training.step)
            # once in a while, in the second half: score the averaged generator with the probe
            if settings.checkpoint_choice == "probe_dsc" and training.step in probe_steps(steps, settings.probes):
                _probe(training, probe, checkpoints, recorder)
            # at doubling steps: keep a few pairs for the strip of progress
            if watches:
                training.watch()
            # every `checkpoint_every` steps, and before stopping: write a resume file
            if saves and rank() == 0:
                checkpoints.save(training.step, training.state())
            if stops:
                say(f"train-generator {name}: stopped by a signal, saved at step {training.step}; the same command goes on from there")
                raise SystemExit(EXIT_CODE)
    # without a probe the last averaged generator is the chosen one
    if not training.best:
        training.averaged()
        training.choose({})
    best = training.best
    return TrainedGenerator(best["weights"], training.audited(), best["step"], best["scores"], training.curve, training.watched)


def _probe(training: Training[Any], probe: Probe, checkpoints: Checkpoints, recorder: Recorder) -> None:
    """Score the averaged generator, keep its weights, and remember it if it is the best so far."""
    sampler = training.sampler()
    if rank():
        training.choose({})  # process 0 chooses and saves
        return
    scores = probe(sampler, training.step)
    training.choose(scores)
    checkpoints.keep(training.step, {name: value.detach().cpu().contiguous() for name, value in training.average.state_dict().items()})
    training.curve.append({"step": training.step, **scores})
    recorder.metrics(scores, training.step)


def _finite(numbers: dict[str, Tensor], training: Training[Any], name: str) -> dict[str, float]:
    """The step's numbers as floats, the same in all processes."""
    values = {number: float(mean_over_all(value)) for number, value in numbers.items()}
    for number, value in values.items():
        if not math.isfinite(value):
            every = training.settings.checkpoint_every
            saved = (training.step - 1) // every * every
            last = f"the last checkpoint is of step {saved}" if saved else "there is no checkpoint yet"
            raise InputError(
                f"train-generator {name}: {number} is not finite at step {training.step}, diverged; {last}; lower the learning rates"
            )
    return values
