"""The one training loop of the three GANs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from angiosynth.data.patches import PatchSet
from angiosynth.errors import InputError
from angiosynth.gan.convolution import iterate_spectral_norms, sharing_weights
from angiosynth.gan.models import Gan, build_gan, label_to_range
from angiosynth.gan.networks import Generator
from angiosynth.gan.synthesis import Sampler
from angiosynth.runtime.checkpoint import Checkpoints
from angiosynth.runtime.distributed import any_of, check_batch, mean_over_all, parallel, part, rank
from angiosynth.runtime.precision import autocast, device, place
from angiosynth.runtime.progress import progress, say
from angiosynth.runtime.recorder import Recorder
from angiosynth.runtime.stop import EXIT_CODE, heeding_sigterm
from angiosynth.settings import GanSettings

# Scores a generator by what it is for: {"probe_dsc": ..., ...} on validation patients.
Probe = Callable[[Sampler, int], dict[str, float]]
LOG_EVERY = 20
STATISTICS_BATCH, STATISTICS_BATCHES = 128, 8
WATCHED, WATCHES = 6, 6  # pairs, and how often


@dataclass(frozen=True)
class TrainedGan:
    """The chosen generator: its weights, the step they are from, the curve of the training, and what was seen on the way.

    `critic`: the last step's, for the audit. `watched`: step -> (image, label), each (n, x, y) uint8, of the same latents each time.
    """

    weights: dict[str, Tensor]
    critic: dict[str, Tensor]
    step: int
    scores: dict[str, float]
    curve: list[dict[str, float]]
    watched: dict[int, tuple[Tensor, Tensor]]


class GanTraining:
    """State of one training: networks, optimisers, averaged generator, random numbers, what was best so far."""

    def __init__(self, model: str, settings: GanSettings, patches: PatchSet) -> None:
        self.settings, self.own, self.patches = settings, settings.of(model), patches
        check_batch(self.own.batch_size)
        self.device = device()
        self.gan: Gan = build_gan(model, settings, patches.size)
        self.average = build_gan(model, settings, patches.size).generator.requires_grad_(False)  # the same weights, by the same seed
        for module in (self.gan.generator, self.gan.critic_loss, self.gan.generator_loss, self.average):
            place(module, self.device)
        self.generate, self.criticise = parallel(self.gan.generator), parallel(self.gan.critic_loss)
        rate_generator, rate_critic = self.own.learning_rate_generator, self.own.learning_rate_critic
        self.generator_optimiser = torch.optim.Adam(self.gan.generator.parameters(), rate_generator, self.own.betas, fused=True)
        self.critic_optimiser = torch.optim.Adam(self.gan.critic.parameters(), rate_critic, self.own.betas, fused=True)
        self.random = torch.Generator().manual_seed(settings.common.seed)
        self.step = 0
        self.curve: list[dict[str, float]] = []
        self.best: dict[str, Any] = {}
        self.watched: dict[int, tuple[Tensor, Tensor]] = {}

    def train_step(self) -> dict[str, Tensor]:
        """Critic iterations, each with a fresh batch, then one generator step; numbers of the last of each."""
        share = rate_share(self.step, self.own.steps) if self.settings.common.decay else 1.0
        for optimiser, rate in (
            (self.critic_optimiser, self.own.learning_rate_critic),
            (self.generator_optimiser, self.own.learning_rate_generator),
        ):
            optimiser.param_groups[0]["lr"] = rate * share
        numbers: dict[str, Tensor] = {}
        with sharing_weights(self.gan.generator):  # it stands still meanwhile
            for _ in range(self.own.critic_iterations):
                numbers = self._critic_step()
        numbers["generator_loss"] = self._generator_step()
        self.step += 1
        self._update_average()
        return numbers

    def _critic_step(self) -> dict[str, Tensor]:
        iterate_spectral_norms(self.gan.critic)
        real = self._real_batch()
        with autocast(self.settings.common.precision, self.device):
            with torch.no_grad():
                fake = self.gan.generator(self._latent())
            loss, numbers = self.criticise(real, fake, self.random)
        loss.backward()
        self.critic_optimiser.step()
        self.critic_optimiser.zero_grad(set_to_none=True)
        return {"critic_loss": loss.detach(), **{name: value.detach() for name, value in numbers.items()}}

    def _generator_step(self) -> Tensor:
        iterate_spectral_norms(self.gan.generator)
        real = self._real_batch()
        with _frozen(self.gan.critic), autocast(self.settings.common.precision, self.device):
            loss: Tensor = self.gan.generator_loss(real, self.generate(self._latent()))
        loss.backward()
        self.generator_optimiser.step()
        self.generator_optimiser.zero_grad(set_to_none=True)
        return loss.detach()

    def _real_batch(self) -> Tensor:
        """(n, 2, x, y): image and label, mirrored left-right at random."""
        count = self.own.batch_size
        rows = part(torch.randint(len(self.patches), (count,), generator=self.random)).numpy()
        image, label = (torch.from_numpy(part) for part in self.patches.pairs(rows))
        pairs = torch.stack([image, label_to_range(label, self.settings)], dim=1)
        if self.settings.common.flip:
            mirrored = part(torch.rand(count, generator=self.random)) < 0.5
            pairs = torch.where(mirrored[:, None, None, None], pairs.flip(2), pairs)
        return pairs.to(self.device, memory_format=torch.channels_last)

    def _latent(self) -> Tensor:
        return part(torch.randn(self.own.batch_size, self.gan.generator.latent_size, generator=self.random)).to(self.device)

    @torch.no_grad()
    def _update_average(self) -> None:
        """EMA of the weights; the decay grows at first so that the start is forgotten."""
        decay = min(self.settings.common.ema, self.step / (self.step + 10.0))
        for average, current in zip(self.average.parameters(), self.gan.generator.parameters(), strict=True):
            average.lerp_(current, 1.0 - decay)

    @torch.no_grad()
    def averaged(self) -> Generator:
        """The averaged generator, ready to draw from.

        Averaged weights make other activations than the weights they come from, so batch norm's statistics are measured
        anew on a fixed set of latents (Izmailov et al. 2018, section 3.2).
        """
        for average, current in zip(self.average.buffers(), self.gan.generator.buffers(), strict=True):
            average.copy_(current)
        iterate_spectral_norms(self.average)
        random = torch.Generator().manual_seed(self.settings.common.seed)
        latents = [torch.randn(STATISTICS_BATCH, self.average.latent_size, generator=random) for _ in range(STATISTICS_BATCHES)]
        with autocast(self.settings.common.precision, self.device):
            update_bn(latents, self.average, self.device)
        return self.average

    def choose(self, scores: dict[str, float]) -> None:
        """Remember the averaged generator if it is the best so far by validation patients."""
        score = scores.get("probe_dsc", float(self.step))
        if not self.best or score > self.best["score"]:
            weights = {name: value.detach().cpu().clone() for name, value in self.average.state_dict().items()}
            self.best = {"score": score, "step": self.step, "scores": scores, "weights": weights}

    def rates(self) -> dict[str, float]:
        """The learning rates of the last step."""
        optimisers = {"generator": self.generator_optimiser, "critic": self.critic_optimiser}
        return {f"learning_rate_{name}": float(optimiser.param_groups[0]["lr"]) for name, optimiser in optimisers.items()}

    def watch(self) -> None:
        """Keep what the averaged generator makes of a few fixed latents, to be looked at."""
        image, label = Sampler(self.averaged(), self.settings, self.device).pairs(WATCHED, seed=0, threshold=None)
        self.watched[self.step] = torch.from_numpy(image), torch.from_numpy(label)

    def state(self) -> dict[str, Any]:
        """All that a resumed training needs."""
        return {
            **{name: module.state_dict() for name, module in self._modules().items()},
            "random": self.random.get_state(),
            "step": self.step,
            "curve": self.curve,
            "best": self.best,
            "watched": self.watched,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""
        for name, module in self._modules().items():
            module.load_state_dict(state[name])
        self.random.set_state(state["random"])
        self.step, self.curve, self.best, self.watched = state["step"], state["curve"], state["best"], state["watched"]

    def _modules(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        return {
            "generator": self.gan.generator,
            "critic": self.gan.critic,
            "average": self.average,
            "generator_optimiser": self.generator_optimiser,
            "critic_optimiser": self.critic_optimiser,
        }


def train_gan(
    model: str, settings: GanSettings, patches: PatchSet, probe: Probe, checkpoints: Checkpoints, recorder: Recorder
) -> TrainedGan:
    """Train one GAN on the patches of training patients and choose a generator.

    Args:
        model: "dcgan", "wgan-gp" or "wgan-gp-sn".
        settings: section `gan`.
        patches: pairs of training patients only.
        probe: scores the averaged generator on validation patients; asked `gan.common.probes` times.
        checkpoints: where resume files go, and the weights of every generator that the probe saw; a sound one found there is continued.
        recorder: takes the curves.

    Raises:
        InputError: a loss stopped being finite; the text names the step.
    """
    if len(patches) == 0:
        raise InputError(f"{patches.folder}: holds no patches to train on; check the split in params.yaml, section cohort")
    training = GanTraining(model, settings, patches)
    saved = checkpoints.load()
    if saved is not None:
        training.restore(saved)
        say(f"train-gan {model}: goes on at step {training.step}")
    steps, every = training.own.steps, settings.common.checkpoint_every
    with heeding_sigterm() as terminated:
        left = range(training.step, steps)
        for _ in left if rank() else progress(left, f"train-gan {model}", steps, done=training.step):
            numbers = training.train_step()
            stops, watches = any_of(terminated()), training.step in watch_steps(steps)
            logs, saves = training.step % LOG_EVERY == 0 or training.step == steps, training.step % every == 0 or stops
            values = _finite(numbers, training, model) if logs or saves or watches else {}  # what is kept was found finite
            if logs:
                values |= training.rates()
                training.curve.append({"step": training.step, **values})
                recorder.metrics(values, training.step)
            if settings.common.checkpoint_choice == "probe_dsc" and training.step in probe_steps(steps, settings.common.probes):
                _probe(training, probe, checkpoints, recorder)
            if watches:
                training.watch()
            if saves and rank() == 0:
                checkpoints.save(training.step, training.state())
            if stops:
                say(f"train-gan {model}: told to stop, saved at step {training.step}; the same command goes on from there")
                raise SystemExit(EXIT_CODE)
    if not training.best:
        training.averaged()
        training.choose({})
    best = training.best
    critic = {name: value.detach().cpu() for name, value in training.gan.critic.state_dict().items()}
    return TrainedGan(best["weights"], critic, best["step"], best["scores"], training.curve, training.watched)


def probe_steps(steps: int, probes: int) -> set[int]:
    """When the probe looks: evenly over the second half, the last step always."""
    return {int(step) for step in np.linspace(steps / 2, steps, probes + 1)[1:]} | {steps}


def rate_share(done: int, steps: int) -> float:
    """Share of the learning rates after `done` of the steps: whole in the first half, then down a line to nothing."""
    return min(1.0, 2.0 * (1.0 - done / steps))


def watch_steps(steps: int) -> set[int]:
    """When pairs are kept to be looked at: twice as far each time, up to the last step, for most happens early."""
    return {max(1, steps >> halvings) for halvings in range(WATCHES)}


def _probe(training: GanTraining, probe: Probe, checkpoints: Checkpoints, recorder: Recorder) -> None:
    """Score the averaged generator, keep its weights, and remember it if it is the best so far."""
    sampler = Sampler(training.averaged(), training.settings, training.device)
    if rank():
        training.choose({})  # the first process is the one that chooses and saves
        return
    scores = probe(sampler, training.step)
    training.choose(scores)
    checkpoints.keep(training.step, {name: value.detach().cpu().contiguous() for name, value in training.average.state_dict().items()})
    training.curve.append({"step": training.step, **scores})
    recorder.metrics(scores, training.step)


def _finite(numbers: dict[str, Tensor], training: GanTraining, model: str) -> dict[str, float]:
    """The step's numbers as floats, the same in all processes."""
    values = {name: float(mean_over_all(value)) for name, value in numbers.items()}
    for name, value in values.items():
        if not math.isfinite(value):
            every = training.settings.common.checkpoint_every
            saved = (training.step - 1) // every * every
            last = f"the last checkpoint is of step {saved}" if saved else "there is no checkpoint yet"
            raise InputError(f"train-gan {model}: {name} is not finite at step {training.step}, diverged; {last}; lower the learning rates")
    return values


@contextmanager
def _frozen(network: nn.Module) -> Iterator[None]:
    """No gradients for the critic's weights in a generator step: they would be thrown away."""
    network.requires_grad_(False)
    try:
        yield
    finally:
        network.requires_grad_(True)
