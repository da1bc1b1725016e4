"""Training loop shared by all families that train a network step by step, and the state common to these trainings."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from angiosynth.compute.distributed import any_of, check_batch, local_rows, mean_over_all, rank
from angiosynth.compute.draws import Draws
from angiosynth.compute.precision import device
from angiosynth.data.patches import PatchSet
from angiosynth.errors import InputError
from angiosynth.generators.base import GeneratorSettings, Probe, Sampler, TrainedGenerator
from angiosynth.generators.graphs import Numbers
from angiosynth.generators.optimisers import load_optimiser
from angiosynth.generators.schedule import WATCHED, probe_steps, watch_steps
from angiosynth.runtime.checkpoint import Checkpoints
from angiosynth.runtime.progress import progress, say
from angiosynth.runtime.recorder import Recorder
from angiosynth.runtime.stop import EXIT_CODE, heeding_sigterm

S = TypeVar("S", bound=GeneratorSettings)


class Training(ABC, Generic[S]):
    """State of one training: step, random generator, curve, best generator so far. Each family adds its networks and optimisers."""

    average: nn.Module  # moving average of the generator's weights; this network is probed, sampled and saved
    log_every = 20  # steps between two records of losses

    def __init__(self, settings: S, patches: PatchSet) -> None:
        check_batch(settings.batch_size)
        self.settings, self.patches = settings, patches
        self.device = device()
        self.random = torch.Generator().manual_seed(settings.seed)
        self.draws = Draws(self.random, self.device)
        self.step = 0
        self.curve: list[dict[str, float]] = []
        self.best: dict[str, Any] = {}
        self.watched: dict[int, tuple[Tensor, Tensor]] = {}

    @abstractmethod
    def train_step(self) -> Numbers:
        """Run one step, increment `step`, and return losses and other scalars by name."""

    @abstractmethod
    def rates(self) -> dict[str, float]:
        """Return the learning rates of the last step by name, for the curves."""

    @abstractmethod
    def averaged(self) -> nn.Module:
        """`average`, with every buffer up to date for sampling."""

    @abstractmethod
    def sampler(self) -> Sampler:
        """Return a sampler of `averaged`."""

    @abstractmethod
    def modules(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        """Networks and optimisers whose `state_dict` goes into the resume file, by name."""

    @abstractmethod
    def audited(self) -> dict[str, dict[str, Tensor]]:
        """Return the final weights that only the audit reads: `TrainedGenerator.audited`."""

    def real_batch(self, flip: bool) -> tuple[Tensor, Tensor]:
        """Return this process's rows of a random batch, image and label (n, x, y); with `flip` half of them are mirrored left-right."""
        count = self.settings.batch_size
        rows = local_rows(torch.randint(len(self.patches), (count,), generator=self.random)).numpy()
        image, label = (torch.from_numpy(array) for array in self.patches.pairs(rows))
        if flip:
            mirrored = (local_rows(torch.rand(count, generator=self.random)) < 0.5)[:, None, None]
            image, label = (torch.where(mirrored, channel.flip(1), channel) for channel in (image, label))
        return image, label

    @torch.no_grad()
    def update_average(self, network: nn.Module, decay: float) -> None:
        """Update the exponential moving average of the weights. The decay is smaller in early steps, so that initial weights fade soon."""
        decay = min(decay, self.step / (self.step + 10.0))
        # all weights in one call, which is one kernel on a GPU
        torch._foreach_lerp_(list(self.average.parameters()), list(network.parameters()), 1.0 - decay)

    def choose(self, scores: dict[str, float]) -> None:
        """Keep a copy of the averaged generator if its probe score is the best so far; without scores the latest is kept."""
        score = scores.get("probe_dsc", float(self.step))
        if not self.best or score > self.best["score"]:
            self.best = {"score": score, "step": self.step, "scores": scores, "weights": copied(self.average)}

    def watch(self) -> None:
        """Draw a few pairs from fixed random numbers and keep them for the progress figure."""
        image, label = self.sampler().pairs(WATCHED, seed=0)
        self.watched[self.step] = torch.from_numpy(image), torch.from_numpy(label)

    def state(self) -> dict[str, Any]:
        """Return the state from which a resumed training continues bit for bit."""
        return {
            **{name: module.state_dict() for name, module in self.modules().items()},
            "random": self.random.get_state(),
            "step": self.step,
            "curve": self.curve,
            "best": self.best,
            "watched": self.watched,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Load a saved `state`."""
        for name, module in self.modules().items():
            if isinstance(module, torch.optim.Optimizer):
                load_optimiser(module, state[name])
            else:
                module.load_state_dict(state[name])
        self.random.set_state(state["random"])
        self.step, self.curve, self.best, self.watched = state["step"], state["curve"], state["best"], state["watched"]


def copied(network: nn.Module) -> dict[str, Tensor]:
    """Return a copy of the network's weights on the CPU, independent of further training."""
    return {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}


def check_patches(patches: PatchSet) -> None:
    """Raise InputError if the set holds no patches."""
    if len(patches) == 0:
        raise InputError(f"{patches.folder}: holds no patches to train on; check the split in params.yaml, section cohort")


def run_training(name: str, training: Training[Any], probe: Probe, checkpoints: Checkpoints, recorder: Recorder) -> TrainedGenerator:
    """Run a training from its last resume file to the end and select a generator: see `Family.train`."""
    saved = checkpoints.load()
    if saved is not None:
        training.restore(saved)
        del saved  # a second copy of all weights
        say(f"train-generator {name}: goes on at step {training.step}")
    settings = training.settings
    steps, every = settings.steps, settings.checkpoint_every
    with heeding_sigterm() as terminated:
        remaining = range(training.step, steps)
        for _ in remaining if rank() else progress(remaining, f"train-generator {name}", steps, done=training.step):
            numbers = training.train_step()
            # decide what is due after this step; the decisions are identical in all processes, since some of them communicate
            stops, watches = any_of(terminated()), training.step in watch_steps(steps)
            logs, saves = training.step % training.log_every == 0 or training.step == steps, training.step % every == 0 or stops
            values = _finite(numbers, training, name) if logs or saves or watches else {}  # check before any state is saved
            # every few steps: record losses and learning rates
            if logs:
                values |= training.rates()
                training.curve.append({"step": training.step, **values})
                recorder.metrics(values, training.step)
            # once in a while, in the second half: score the averaged generator with the probe
            if settings.checkpoint_choice == "probe_dsc" and training.step in probe_steps(steps, settings.probes):
                _probe(training, probe, checkpoints, recorder)
            # at doubling steps: keep a few pairs for the progress figure
            if watches:
                training.watch()
            # every `checkpoint_every` steps, and before stopping: write a resume file
            if saves and rank() == 0:
                checkpoints.save(training.step, training.state())
            if stops:
                say(f"train-generator {name}: stopped by a signal, saved at step {training.step}; the same command goes on from there")
                raise SystemExit(EXIT_CODE)
    # without a probe the last averaged generator is selected
    if not training.best:
        training.averaged()
        training.choose({})
    best = training.best
    return TrainedGenerator(best["weights"], training.audited(), best["step"], best["scores"], training.curve, training.watched)


def _probe(training: Training[Any], probe: Probe, checkpoints: Checkpoints, recorder: Recorder) -> None:
    """Score the averaged generator, save its weights, and select it if it is the best so far."""
    sampler = training.sampler()
    if rank():
        training.choose({})  # only process 0 scores and saves
        return
    scores = probe(sampler, training.step)
    training.choose(scores)
    checkpoints.keep(training.step, {name: value.detach().cpu().contiguous() for name, value in training.average.state_dict().items()})
    training.curve.append({"step": training.step, **scores})
    recorder.metrics(scores, training.step)


def _finite(numbers: Numbers, training: Training[Any], name: str) -> dict[str, float]:
    """Mean of the step's scalars over all processes, as floats. Raises InputError if one is not finite."""
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
